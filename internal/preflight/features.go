// Package preflight finds out what this kernel and these privileges allow, by
// trying it: every feature is a small program that is loaded, attached and
// taken away again. Files such as /sys/kernel/security/lockdown are read for
// the words of a message only, because they do not decide: lockdown refuses
// kprobes and allows fentry, and other policies refuse fentry where lockdown
// does not.
//
// What follows from the answers is pure (Diagnose) and needs no kernel.
package preflight

import (
	"maps"

	"github.com/cilium/ebpf/btf"

	"acceptwatch/internal/capability"
)

// Answer is what a trial found out. Its zero value is Unknown.
type Answer uint8

const (
	Unknown Answer = iota // the trial itself failed, or was not made
	Yes
	No
)

func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// Trial is the answer of one attempt. Err is nil exactly when Answer is Yes,
// and says otherwise what was seen; Reason sorts it.
type Trial struct {
	Answer Answer
	Reason Reason
	Err    error
}

// OK reports whether it was tried and worked.
func (t Trial) OK() bool { return t.Answer == Yes }

// Features is what was found. The zero value knows nothing.
type Features struct {
	Release      string // uname -r
	Arch         string // GOARCH
	Major, Minor int    // of Release; 0, 0: it could not be read

	BTF     Trial // the kernel's own type information can be read
	Fentry  Trial // load and attach on inet_csk_listen_stop
	Kprobe  Trial // load and attach on inet_csk_listen_stop
	TpBTF   Trial // load and attach on inet_sock_set_state
	IterTCP Trial // load, link and open
	RingBuf Trial // a map of one page

	ProbeRead    Trial // bpf_probe_read_kernel loads; refused by lockdown=confidentiality
	Loop         Trial // bpf_loop, Linux 5.17
	FetchAtomics Trial // atomic add that returns the old value, Linux 5.12

	// Functions has one entry for each of FunctionNames, if the BTF was read;
	// else it is empty.
	Functions map[string]Function

	// Types are the kernel's types, as far as they were decoded: some MiB, for
	// who loads programs next. Nobody keeps them longer.
	Types *btf.Cache

	Caps     capability.Set // effective ones
	Memlock  Memlock
	Lockdown string // the active word of the securityfs file; empty: not readable
	Seccomp  bool   // a seccomp filter is installed on this process
	// PerfParanoid is kernel.perf_event_paranoid; 0 if it cannot be read.
	PerfParanoid int
	// OuterUser and OuterPID say that the process runs in the initial user
	// and PID namespace. Capabilities count for eBPF in the initial user
	// namespace only (capable(), kernel/capability.c), and processes outside
	// the own PID namespace cannot be named.
	OuterUser, OuterPID bool
}

// AtLeast reports whether the kernel's version is major.minor or later. It is
// for words, and for facts that cannot be tried.
func (f *Features) AtLeast(major, minor int) bool {
	return f.Major > major || f.Major == major && f.Minor >= minor
}

// Without returns a copy that does not know the kernel functions.
func (f *Features) Without(functions ...string) *Features {
	less := *f
	less.Functions = maps.Clone(f.Functions)
	for _, name := range functions {
		delete(less.Functions, name)
	}
	return &less
}

// Function is what the BTF says about a kernel function.
type Function struct {
	InBTF  bool // the kernel has it, out of line somewhere; not that it is called
	Params int  // number of parameters
}

// FunctionNames lists the kernel functions whose presence or signature decides
// which programs are used.
func FunctionNames() []string {
	return []string{
		"inet_csk_accept",             // 2 parameters from 6.10, before that 4
		"__inet_accept",               // 3 parameters
		"bpf_rdonly_cast",             // 6.2
		"inet_csk_complete_hashdance", // net/ipv4/inet_connection_sock.c
		"tcp_child_process",           // 3 parameters
		"inet_csk_reqsk_queue_add",
		"inet_csk_listen_start",
		"inet_csk_listen_stop",
		"inet_child_forget",
		"reuseport_migrate_sock", // 5.14
		"tcp_set_state",
		"tcp_fin",
		"tcp_done_with_error", // 6.11, and stable kernels since 5.15
		"tcp_conn_request",
		"tcp_v4_syn_recv_sock",
		"tcp_v6_syn_recv_sock",
		"security_sock_graft", // CONFIG_SECURITY_NETWORK
		"__sys_accept4",
		"io_accept", // 6.1
		"mptcp_stream_accept",
	}
}

// Memlock is the limit on locked memory, which holds maps and programs down
// before Linux 5.11 (kernel/bpf/syscall.c, bpf_map_charge_memlock).
type Memlock struct {
	Limit  uint64 // bytes, as found; RLIM_INFINITY is 1<<64 - 1
	Counts bool   // this kernel applies it
	Err    error  // it counts and could not be lifted
}
