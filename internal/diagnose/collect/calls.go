package collect

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// call is what /proc/PID/task/TID/syscall says.
type call struct {
	running bool // on a CPU, or about to be
	none    bool // sleeps outside of a system call: in a page fault, or stopped
	name    string
	args    [6]uint64
}

// parseCall reads "0 0x5 0x7ffe... ..." (proc_pid_syscall, fs/proc/base.c): the
// number, six arguments, stack and program counter; "running" and "-1 ..." too.
func parseCall(text string) (c call, ok bool) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return c, false
	}
	if fields[0] == "running" {
		return call{running: true}, true
	}
	number, err := strconv.Atoi(fields[0])
	if err != nil {
		return c, false
	}
	if number < 0 || len(fields) < 7 {
		return call{none: true}, true
	}
	c.name = callNames()[number]
	if c.name == "" {
		c.name = "syscall " + fields[0]
	}
	for i := range c.args {
		if c.args[i], err = strconv.ParseUint(strings.TrimPrefix(fields[1+i], "0x"), 16, 64); err != nil {
			return call{}, false
		}
	}
	return c, true
}

// fd is the descriptor that the call is about, and false if it has none.
func (c *call) fd() (int, bool) {
	switch c.name {
	case "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2",
		"accept", "accept4", "connect", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice",
		"epoll_wait", "epoll_pwait", "epoll_pwait2", "fsync", "fdatasync", "ftruncate", "fallocate", "flock", "fcntl",
		"sync_file_range", "getdents64", "ioctl", "shutdown", "close", "copy_file_range":
		return int(int32(c.args[0])), true
	}
	return -1, false
}

// Operations of futex(2), include/uapi/linux/futex.h.
const (
	futexPrivate  = 128
	futexRealtime = 256
	futexWait     = 0
	futexLockPI   = 6
	futexBitset   = 9
	futexLockPI2  = 13
)

// futexOp tells a plain lock from everything else that is made of futexes. A
// thread that waits for a lock of glibc or of Rust does so while it reads 2,
// "locked, and others wait" (lll_lock_wait, nptl/lowlevellock.c). One that waits
// for another thread to end waits for a word that holds its number, which the
// kernel clears without FUTEX_PRIVATE (mm_release, kernel/fork.c).
func (c *call) futexOp() string {
	op, expected := uint32(c.args[1]), uint32(c.args[2])
	if op&futexPrivate == 0 && op&^futexRealtime == futexBitset && expected > 2 {
		return "join"
	}
	switch op &^ (futexPrivate | futexRealtime) {
	case futexLockPI, futexLockPI2:
		return "mutex"
	case futexWait:
		if expected == 2 {
			return "mutex"
		}
	case futexBitset:
		if expected == 2 && op&futexRealtime == 0 {
			return "mutex"
		}
	}
	return "condition"
}

// callNames are those that threads wait in, by number.
var callNames = sync.OnceValue(func() map[int]string {
	return archCallNames(map[int]string{
		unix.SYS_READ: "read", unix.SYS_WRITE: "write", unix.SYS_READV: "readv", unix.SYS_WRITEV: "writev",
		unix.SYS_PREAD64: "pread64", unix.SYS_PWRITE64: "pwrite64", unix.SYS_PREADV: "preadv", unix.SYS_PWRITEV: "pwritev",
		unix.SYS_PREADV2: "preadv2", unix.SYS_PWRITEV2: "pwritev2", unix.SYS_CLOSE: "close",
		unix.SYS_ACCEPT: "accept", unix.SYS_ACCEPT4: "accept4", unix.SYS_CONNECT: "connect", unix.SYS_SHUTDOWN: "shutdown",
		unix.SYS_RECVFROM: "recvfrom", unix.SYS_RECVMSG: "recvmsg", unix.SYS_RECVMMSG: "recvmmsg",
		unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_SENDMMSG: "sendmmsg", unix.SYS_SENDFILE: "sendfile",
		unix.SYS_SPLICE: "splice", unix.SYS_COPY_FILE_RANGE: "copy_file_range",
		unix.SYS_EPOLL_PWAIT: "epoll_pwait", unix.SYS_EPOLL_PWAIT2: "epoll_pwait2", unix.SYS_EPOLL_CTL: "epoll_ctl",
		unix.SYS_PPOLL: "ppoll", unix.SYS_PSELECT6: "pselect6",
		unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_SYNC: "sync", unix.SYS_SYNC_FILE_RANGE: "sync_file_range",
		unix.SYS_MSYNC: "msync", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate",
		unix.SYS_OPENAT: "openat", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_GETDENTS64: "getdents64",
		unix.SYS_FLOCK: "flock", unix.SYS_FCNTL: "fcntl", unix.SYS_SEMOP: "semop", unix.SYS_SEMTIMEDOP: "semtimedop",
		unix.SYS_FUTEX: "futex", unix.SYS_NANOSLEEP: "nanosleep", unix.SYS_CLOCK_NANOSLEEP: "clock_nanosleep",
		unix.SYS_WAIT4: "wait4", unix.SYS_WAITID: "waitid", unix.SYS_RT_SIGTIMEDWAIT: "rt_sigtimedwait",
		unix.SYS_RT_SIGSUSPEND: "rt_sigsuspend", unix.SYS_IO_GETEVENTS: "io_getevents", unix.SYS_IO_URING_ENTER: "io_uring_enter",
		unix.SYS_RESTART_SYSCALL: "restart_syscall", unix.SYS_SCHED_YIELD: "sched_yield", unix.SYS_IOCTL: "ioctl",
		unix.SYS_MSGRCV: "msgrcv", unix.SYS_MADVISE: "madvise", unix.SYS_MUNMAP: "munmap", unix.SYS_MMAP: "mmap",
	})
})
