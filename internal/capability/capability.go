// Package capability is the one table of the capabilities of Linux that
// acceptwatch uses: what for, and what is so without each. A kernel test runs
// the program with exactly these, and then without each; the manifests ask for
// these and no others, and the fence keeps these and no others.
package capability

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is a right that the kernel gives to threads.
type Capability struct {
	Bit  int    // its number in include/uapi/linux/capability.h
	Name string // "CAP_BPF"
	For  string // what it is used for, a phrase

	// Without says what is so where it is missing, a phrase; empty: nothing can
	// be watched.
	Without string
}

// Short is the name as Kubernetes has it: "SYS_ADMIN".
func (c Capability) Short() string { return strings.TrimPrefix(c.Name, "CAP_") }

// Required says that nothing can be watched without it.
func (c Capability) Required() bool { return c.Without == "" }

// Watching lists what a command that watches accept queues uses, from its start
// to its end. None is for the start alone: programs are loaded and attached again
// when the first MPTCP listener is met or stacks are taken, before Linux 6.0 maps
// cannot be read without CAP_BPF where unprivileged eBPF is off
// (kernel/bpf/syscall.c, __sys_bpf), and processes and namespaces come and go.
func Watching() []Capability {
	return []Capability{
		{unix.CAP_BPF, "CAP_BPF", "load eBPF programs, and read their maps", ""},
		{unix.CAP_PERFMON, "CAP_PERFMON", "attach them to kernel functions", ""},
		{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "look into processes of other users",
			"processes of other users are not named, and network namespaces that only they are in are not found"},
		{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "list the descriptors of processes of other users",
			"processes of other users are not named"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter other network namespaces",
			"queues in other network namespaces are not looked into: what their listeners do is counted once they accept, but not what waits there"},
	}
}

// LockedMemory is needed before Linux 5.11 by those whose RLIMIT_MEMLOCK is not
// unlimited: maps count against it there.
func LockedMemory() Capability {
	return Capability{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE",
		"lift the limit on locked memory", ""}
}

// Set is a set of capabilities: bit n is capability n.
type Set uint64

// Of makes a set.
func Of(bits ...int) Set {
	var s Set
	for _, bit := range bits {
		s |= 1 << bit
	}
	return s
}

// Bits is the set of a list.
func Bits(list []Capability) Set {
	var s Set
	for _, c := range list {
		s |= Of(c.Bit)
	}
	return s
}

// Has says whether a capability is in the set.
func (s Set) Has(bit int) bool { return s>>bit&1 == 1 }

// Tracing says whether the set is enough to load and attach tracing programs:
// CAP_BPF and CAP_PERFMON since Linux 5.8, CAP_SYS_ADMIN always.
func (s Set) Tracing() bool {
	return s.Has(unix.CAP_SYS_ADMIN) || s.Has(unix.CAP_BPF) && s.Has(unix.CAP_PERFMON)
}

// Missing lists what a command that watches uses and is not in the set.
// CAP_SYS_ADMIN is as good as CAP_BPF and CAP_PERFMON.
func (s Set) Missing() []Capability {
	var missing []Capability
	for _, c := range Watching() {
		if !s.Has(c.Bit) && !(c.Required() && s.Tracing()) {
			missing = append(missing, c)
		}
	}
	return missing
}

// Effective is the set of the calling thread, by capget(2), which needs no
// /proc. On an error, which only bad arguments can cause, it is empty.
func Effective() Set {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0
	}
	return Set(data[0].Effective) | Set(data[1].Effective)<<32
}
