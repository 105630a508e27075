package preflight

import "acceptwatch/internal/listener"

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
	ModeRestricted = listener.Restricted
	ModeNone       = "none" // no eBPF: nothing can be traced
)

// Plan is the mode that would be used.
type Plan struct {
	Mode   string
	Why    string   // a phrase: "BTF trampolines work here"
	Limits []string // what it cannot see, a sentence each
	// Missing are the functions that it would hook and this kernel does not have.
	Missing []Missing
}

// Missing is a kernel function that is not there, and nothing in its place.
type Missing struct {
	Function    string
	Consequence string // a phrase
	Vital       bool   // what enters queues is not counted
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

	AttachErr error   // of attaching in that mode; the mode is useless then
	Canary    *Canary // nil: not made
	CanaryErr error   // why the connection of the canary failed

	DiagErr error // of listing TCP sockets by sock_diag; nil: works
}

// exact says in phrases what is exact in the mode of a host. What is not is in its
// limits.
func exact(h *Host) []string {
	switch mode := h.Plan.Mode; {
	case mode == ModeFentry:
		return []string{"accept waits, depths, close_wait, reset, purged"}
	case mode == ModeKprobe:
		return []string{"accept waits, depths, close_wait, reset, purged, but for what is counted as missed"}
	case mode == ModeRestricted:
		return []string{"close_wait and reset before accept, with their waits",
			"age, state and order of what is in a queue, at each walk"}
	case h.DiagErr == nil:
		return []string{"depth, backlog and CLOSE_WAIT, of a moment: " + WithoutTracing(h.DiagErr)}
	default:
		return []string{"nothing: " + WithoutTracing(h.DiagErr)}
	}
}

// WithoutEBPF is the plan when no eBPF mode works.
func WithoutEBPF(why string) Plan {
	return Plan{Mode: ModeNone, Why: why}
}

// WithoutTracing is what can be seen where nothing can be traced, a phrase. The error
// is of listing TCP sockets by sock_diag; nil: works.
func WithoutTracing(diagErr error) string {
	if diagErr != nil {
		return "`ss -ltn` shows depth and backlog of listeners, `ss -tan` their CLOSE_WAITs"
	}
	return "`acceptwatch snapshot` shows what is queued, since when and whose it is, `acceptwatch diagnose --mode diag` why nobody accepts"
}
