package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Reason sorts the error of a trial by who can do something about it.
type Reason uint8

const (
	NoReason   Reason = iota
	Privilege         // refused, and capabilities are missing: run with more
	Policy            // refused with all capabilities: an LSM, lockdown, seccomp
	Lacking           // this kernel does not have it
	Exhausted         // a resource ran out; try again
	Unexplored        // not tried, because it depends on something that failed
	Strange           // any other error
)

func (r Reason) String() string {
	return [...]string{"", "privilege", "policy", "lacking", "exhausted", "unexplored", "strange"}[r]
}

// enotsupp is the kernel's own ENOTSUPP (include/linux/errno.h), which is not
// EOPNOTSUPP and has no name in user space. It is what arm64 without
// trampolines answers to an attach.
const enotsupp = syscall.Errno(524)

// trial turns the outcome of an attempt into its answer. privileged says
// whether the capabilities that it needs are effective where they count.
func trial(err error, privileged bool) Trial {
	t := Trial{Answer: No, Err: err}
	switch {
	case err == nil:
		t.Answer = Yes
	case errors.Is(err, errUnexplored):
		t.Answer, t.Reason = Unknown, Unexplored
	case errIsAny(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN,
		syscall.EINTR, syscall.ENOSPC):
		t.Answer, t.Reason = Unknown, Exhausted
	case errors.Is(err, fs.ErrPermission): // EPERM and EACCES
		t.Reason = Policy
		if !privileged {
			t.Reason = Privilege
		}
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, btf.ErrNotFound),
		errors.Is(err, fs.ErrNotExist), // no such function or event
		errIsAny(err, enotsupp, syscall.EOPNOTSUPP, syscall.EINVAL, syscall.E2BIG,
			syscall.ENOSYS, // no bpf(2) at all
			syscall.EBUSY): // the function has no patchable entry
		t.Reason = Lacking
	default:
		t.Answer, t.Reason = Unknown, Strange
	}
	return t
}

func errIsAny(err error, numbers ...syscall.Errno) bool {
	for _, n := range numbers {
		if errors.Is(err, n) {
			return true
		}
	}
	return false
}

// ParanoidError says that perf_event_open, and so a kprobe, needs CAP_SYS_ADMIN:
// values above 2 of the setting ask for it, which distributions have added to
// their kernels (Debian has 3, Ubuntu 4).
type ParanoidError struct {
	Level int // kernel.perf_event_paranoid
	Err   error
}

func (e *ParanoidError) Error() string {
	return fmt.Sprintf("kernel.perf_event_paranoid is %d, which asks for CAP_SYS_ADMIN: %v", e.Level, e.Err)
}

func (e *ParanoidError) Unwrap() error { return e.Err }

// errUnexplored marks a trial that had nothing to be made with.
var errUnexplored = errors.New("not tried")
