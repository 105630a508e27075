package fence

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// never are system calls that no command makes once it has attached.
var never = append([]uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PIDFD_GETFD, // it would write to files that others have open
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE,
	unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOUNT_SETATTR,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, // it would open files past the filter
}, neverHere...)

// changes are system calls that change files by their names.
var changes = append([]uint32{
	unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_MKNODAT,
	unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_TRUNCATE,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT,
	unix.SYS_FILE_SETATTR,
}, changesHere...)

// toWrite are the flags of open(2) that ask for more than to read.
const toWrite = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC | unix.O_TMPFILE&^unix.O_DIRECTORY

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h).
const (
	offsetNumber   = 0
	offsetArch     = 4
	offsetArgument = 16 // of the first; 8 bytes each, the lower half first
)

// filter refuses with EPERM what is not done later. Calls of another architecture
// are refused too.
func filter(l Later) []bpf.Instruction {
	refused := append([]uint32(nil), never...)
	if !l.Files {
		refused = append(refused, changes...)
	}
	// Its flags cannot be seen, as they are in memory. Package symbol opens with it
	// what a server may have put in the place of its program.
	if !l.Files && !l.Stacks {
		refused = append(refused, unix.SYS_OPENAT2)
	}
	var (
		refuse = bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
		allow  = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	)
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		refuse,
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
		// The x32 ABI has the architecture of amd64 and numbers from here on.
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 0x40000000, SkipTrue: 1},
		refuse,
	}
	for _, number := range refused {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: 1}, refuse)
	}
	if !l.Files {
		for _, open := range opens {
			program = append(program,
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: open.number, SkipTrue: 4},
				bpf.LoadAbsolute{Off: offsetArgument + 8*open.flags, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: toWrite, SkipFalse: 1},
				refuse,
				allow)
		}
	}
	return append(program, allow)
}

// opened is a system call that opens files; flags is which of its arguments they
// are, from 0.
type opened struct{ number, flags uint32 }

// filterCalls puts the filter on all threads, and so forbids programs that are
// run from gaining privileges.
func filterCalls(l Later) error {
	raw, err := bpf.Assemble(filter(l))
	if err != nil {
		return fmt.Errorf("assemble the filter of system calls: %w", err)
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// The kernel passes no_new_privs on to the other threads with the filter
	// (kernel/seccomp.c, seccomp_sync_threads), if this one has it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// Without SPEC_ALLOW, kernels before 5.16 would slow all of the process down
	// by mitigations of speculation (Documentation/admin-guide/hw-vuln/spectre.rst).
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno != 0:
		return fmt.Errorf("filter system calls: %w", errno)
	case thread != 0:
		return fmt.Errorf("filter system calls: thread %d has another filter", thread)
	}
	return nil
}
