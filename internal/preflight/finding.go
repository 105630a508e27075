package preflight

// Status grades a finding.
type Status string

const (
	OK   Status = "ok"   // nothing to do
	Warn Status = "warn" // works, and something is not seen or not exact
	Fail Status = "fail" // does not work, and something important depends on it
)

// Finding is one thing that is so on this host, and what follows from it.
type Finding struct {
	ID          string `json:"id"` // for machines; unique among the findings of a host
	Status      Status `json:"status"`
	What        string `json:"what"`                  // what is so: a phrase
	Consequence string `json:"consequence,omitempty"` // what that means for the user: a phrase
	Remedy      string `json:"remedy,omitempty"`      // what to do: an imperative
	Error       string `json:"error,omitempty"`       // what the kernel said, if it was asked
}

// The modes, in the order of preference.
const (
	ModeFentry     = "fentry"
	ModeKprobe     = "kprobe"
	ModeRestricted = "restricted"
	ModeDiag       = "diag" // no eBPF: snapshots by sock_diag
)

// Plan is the mode that would be used.
type Plan struct {
	Mode string
	Why  string // a phrase: "BTF trampolines work here"
}

// Canary is what one loopback connection made the hooks of the attached mode
// see. A hook that is attached and never called measures nothing and says
// nothing: compilers inline kernel functions whose symbols remain.
type Canary struct {
	Mode  string
	Hooks []Hook
}

// Hook is one program of the canary.
type Hook struct {
	Name     string // of the kernel function or tracepoint
	Role     string // what it tells, such as "enqueue" or "accept"
	Expected bool   // it ought to see the connection on this kernel
	Fired    uint64 // times it was called
}

// Host is everything that the findings follow from.
type Host struct {
	Features *Features
	Plan     Plan

	Canary    *Canary // nil: not made
	CanaryErr error   // why not; nil and no Canary: the mode has none

	DiagErr error // of listing TCP sockets by sock_diag; nil: works
}

// BestMode is the best mode whose programs were all seen to work. It is what
// the features allow: a command that forces a mode, or a kernel whose programs
// the verifier refuses, may end with another.
func BestMode(f *Features) Plan {
	ring := f.RingBuf.OK()
	switch {
	case ring && f.Fentry.OK():
		return Plan{ModeFentry, "BTF trampolines work here"}
	case ring && f.BTF.OK() && f.Kprobe.OK() && f.ProbeRead.OK():
		return Plan{ModeKprobe, "kprobes work here, and fentry " + negative(f.Fentry)}
	case ring && f.TpBTF.OK() && f.IterTCP.OK():
		return Plan{ModeRestricted, "fentry " + negative(f.Fentry) + " and kprobe " + negative(f.Kprobe) +
			", but tp_btf and iter/tcp work"}
	case !f.Caps.Tracing() || !f.OuterUser:
		return Plan{ModeDiag, "privileges are missing for eBPF"}
	case !f.AtLeast(5, 8):
		return Plan{ModeDiag, "eBPF here needs Linux 5.8 or later"}
	default:
		return Plan{ModeDiag, "no set of eBPF programs works here"}
	}
}

// Guarantees says in phrases what is exact in a mode and what is not.
func Guarantees(mode string) (exact, inexact []string) {
	switch mode {
	case ModeFentry:
		return []string{"accept waits, depths, close_wait, reset, purged, accept_error"}, nil
	case ModeKprobe:
		return []string{"accept waits, depths, close_wait, reset, purged"},
			[]string{"accept calls lost when many threads block in accept (counted)",
				"runs dropped when another probe holds the CPU (counted since Linux 6.12)"}
	case ModeRestricted:
		return []string{"close_wait and reset before accept, with their waits",
				"age, state and order of what is in a queue, at each walk"},
			[]string{"accept waits: sampled, to the interval of the walks",
				"acceptor: the owner of the listener, not the thread that accepted",
				"connections that come and go between two walks are only counted"}
	default:
		return []string{"depth, backlog and CLOSE_WAIT of each listener, at each snapshot",
				"age of what is in a queue, to 1 ms"},
			[]string{"events between two snapshots are not seen",
				"resets in a queue are derived: depth minus what is visible"}
	}
}
