package owner

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Thread sleeps in accept.
type Thread struct {
	PID, TID int
	Comm     string // of the thread

	// FD is the descriptor that it called accept on, -1 if that could not be
	// read: for want of permission, or because the thread is an io_uring worker
	// or runs 32-bit code.
	FD int

	// Inode is that of the socket behind FD, 0 if it could not be read.
	Inode uint32
}

// BlockedInAccept returns the threads of these processes that sleep in accept
// or accept4 on a TCP socket now. Most servers never have one: they sleep in
// epoll and call accept only when there is something to take.
//
// It is seen at wchan, the kernel function a thread sleeps in, and at syscall,
// both in /proc/PID/task/TID. Reading another user's needs CAP_SYS_PTRACE (a
// refused wchan reads 0), and a kernel without CONFIG_HAVE_ARCH_TRACEHOOK or
// CONFIG_KALLSYMS has only one of the two. Where only the system call is known,
// a thread that accepts on another kind of socket is reported too: compare
// Inode.
//
// The Report counts threads' processes: a process is Denied if neither could be
// read of one of its threads.
func (s Scanner) BlockedInAccept(pids []int) ([]Thread, Report, error) {
	proc, err := unix.Open(s.proc(), openDir, 0)
	if err != nil {
		return nil, Report{}, fmt.Errorf("list threads in %s: %w", s.proc(), err)
	}
	defer unix.Close(proc)

	w := waiting{dirents: make([]byte, direntSize), calls: acceptCalls(runtime.GOARCH)}
	for _, pid := range pids {
		w.report.Processes++
		if err := w.process(proc, pid); err != nil {
			w.report.failed(pid, err)
		}
	}
	return w.found, w.report, nil
}

type waiting struct {
	found   []Thread
	report  Report
	calls   []int
	dirents []byte
	buf     [512]byte
	link    [64]byte
}

func (w *waiting) process(proc, pid int) error {
	tasks, err := unix.Openat(proc, strconv.Itoa(pid)+"/task", openDir, 0)
	if err != nil {
		return err
	}
	defer unix.Close(tasks)

	var refused error
	err = numericEntries(tasks, w.dirents, func(tid int) error {
		err := w.thread(tasks, pid, tid)
		if denied(err) {
			refused = err
			return nil
		}
		if gone(err) {
			return nil
		}
		return err
	})
	if err == nil {
		err = refused
	}
	return err
}

func (w *waiting) thread(tasks, pid, tid int) error {
	dir := strconv.Itoa(tid)
	name, wchanErr := readAt(tasks, dir+"/wchan", w.buf[:])
	place := classifyWchan(name)
	if gone(wchanErr) && !w.exists(tasks, dir) {
		return wchanErr
	}
	if place == sleepsElsewhere {
		return nil
	}

	call, callErr := readAt(tasks, dir+"/syscall", w.buf[:])
	fd, inAccept := parseSyscall(call, w.calls)
	if place == unknownPlace && callErr != nil {
		return callErr
	}
	if place != sleepsInAccept && !inAccept {
		return nil
	}

	t := Thread{PID: pid, TID: tid, FD: -1}
	comm, err := readAt(tasks, dir+"/comm", w.buf[:])
	if err != nil {
		return err
	}
	t.Comm = string(bytes.TrimSuffix(comm, []byte("\n")))
	if inAccept {
		t.FD = fd
		if n, err := unix.Readlinkat(tasks, dir+"/fd/"+strconv.Itoa(fd), w.link[:]); err == nil {
			t.Inode, _ = parseSocketLink(w.link[:n])
		}
	}
	w.found = append(w.found, t)
	return nil
}

func (w *waiting) exists(tasks int, dir string) bool {
	var st unix.Stat_t
	return unix.Fstatat(tasks, dir, &st, 0) == nil
}

type place int

const (
	unknownPlace place = iota // not told, or the thread runs
	sleepsInAccept
	sleepsElsewhere
)

// classifyWchan knows inet_csk_accept and inet_csk_wait_for_connect, its static
// helper (net/ipv4/inet_connection_sock.c), which is a function of its own where
// the compiler did not inline it. Compilers add suffixes: ".isra.0".
func classifyWchan(name []byte) place {
	fn, _, _ := strings.Cut(string(bytes.TrimSpace(name)), ".")
	switch fn {
	case "", "0":
		return unknownPlace
	case "inet_csk_accept", "inet_csk_wait_for_connect":
		return sleepsInAccept
	}
	return sleepsElsewhere
}

// parseSyscall reads "288 0x3 0x0 ..." (proc_pid_syscall, fs/proc/base.c): the
// number in decimal, then the arguments. A thread that runs reads "running", one
// that sleeps outside of a system call -1.
func parseSyscall(b []byte, calls []int) (fd int, ok bool) {
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return -1, false
	}
	number, err := strconv.Atoi(fields[0])
	if err != nil {
		return -1, false
	}
	// The argument is a register; accept takes an int, its lower half.
	first, err := strconv.ParseUint(strings.TrimPrefix(fields[1], "0x"), 16, 64)
	if err != nil || int32(first) < 0 {
		return -1, false
	}
	for _, call := range calls {
		if number == call {
			return int(int32(first)), true
		}
	}
	return -1, false
}

// acceptCalls returns the numbers of accept and accept4. On other architectures
// wchan alone decides.
func acceptCalls(goarch string) []int {
	switch goarch {
	case "amd64":
		return []int{43, 288} // arch/x86/entry/syscalls/syscall_64.tbl
	case "arm64", "riscv64", "loong64":
		return []int{202, 242} // include/uapi/asm-generic/unistd.h
	}
	return nil
}
