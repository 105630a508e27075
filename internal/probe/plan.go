package probe

import (
	"errors"
	"fmt"
	"strings"

	"acceptwatch/internal/preflight"
)

// Mode says how the kernel is watched.
type Mode string

// The modes, best first. None has a zero value's meaning: "" in Options asks
// for the best that works.
const (
	Fentry     Mode = "fentry"     // BTF trampolines: everything is exact
	Kprobe     Mode = "kprobe"     // kprobes: everything, with counted losses
	Restricted Mode = "restricted" // typed tracepoints: deaths are exact, waits sampled
)

// ErrUnsupported says that no mode, or not the forced one, works here.
var ErrUnsupported = errors.ErrUnsupported

// kind is how a program is attached.
type kind uint8

const (
	tracing kind = iota // fentry, fexit, tp_btf
	kprobe
	kretprobe
)

// hook is one program on one kernel function.
type hook struct {
	program string // as in the object
	symbol  string // kernel function or tracepoint
	kind    kind
	role    Role
	// optional hooks may fail to attach; the plan's limits then say what is
	// missing.
	optional bool
}

// Role is what a hook is for.
type Role string

const (
	RoleAccept  Role = "accept"  // connections leave the queue
	RoleGraft   Role = "graft"   // the same, for calls whose exit the other hook does not see
	RoleEnqueue Role = "enqueue" // connections enter the queue
	RoleState   Role = "state"   // connections die in the queue
	RolePurge   Role = "purge"   // a listener closes with connections in its queue
	RoleClose   Role = "close"   // a listener is gone
)

// Plan is what is loaded and attached.
type Plan struct {
	Mode   Mode
	Why    string   // why this mode and no better one, in words
	Limits []string // what this mode cannot see, a sentence each
	hooks  []hook
	walk   string // program of the socket iterator; empty: none works
}

// Hooks lists the kernel functions that the plan attaches to, with the role of
// each.
func (p *Plan) Hooks() []string {
	list := make([]string, len(p.hooks))
	for i, h := range p.hooks {
		list[i] = string(h.role) + ": " + h.symbol
	}
	return list
}

// MakePlan chooses from what the kernel allows. It is pure. force is a mode,
// or empty for the best one that works; an error that wraps ErrUnsupported
// says why there is none.
func MakePlan(f *preflight.Features, force Mode) (*Plan, error) {
	tries := []struct {
		mode Mode
		plan func(*preflight.Features) (*Plan, error)
	}{{Fentry, planFentry}, {Kprobe, planKprobe}, {Restricted, planRestricted}}
	var refused []string
	for _, try := range tries {
		if force != "" && force != try.mode {
			continue
		}
		plan, err := try.plan(f)
		if err == nil {
			plan.walk = walkProgram(f)
			if plan.walk == "" {
				plan.Limits = append(plan.Limits, "what was queued before the start is not listed: socket iterators do not work here")
			}
			if force != "" {
				plan.Why = "forced by --mode"
			} else if len(refused) > 0 {
				plan.Why = strings.Join(refused, "; ")
			}
			return plan, nil
		}
		refused = append(refused, fmt.Sprintf("mode %s: %v", try.mode, err))
	}
	if len(refused) == 0 {
		return nil, fmt.Errorf("choose mode %q: it is not one of %s, %s, %s", force, Fentry, Kprobe, Restricted)
	}
	return nil, &UnsupportedError{Reasons: refused, privilege: f.Fentry.Reason == preflight.Privilege}
}

// UnsupportedError says why no mode works.
type UnsupportedError struct {
	Reasons   []string
	privilege bool
}

func (e *UnsupportedError) Error() string {
	if e.privilege {
		return "attach to the kernel: eBPF needs privileges that this process does not have; run it with sudo"
	}
	return fmt.Sprintf("attach to the kernel: %s; run 'acceptwatch doctor' to see what this kernel allows", strings.Join(e.Reasons, "; "))
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// walkProgram prefers bpf_loop: without it, one walk sees at most 512 entries
// of a queue (WALK_BOUNDED in bpf/walk.bpf.h).
func walkProgram(f *preflight.Features) string {
	switch {
	case !f.IterTCP.OK():
		return ""
	case f.Loop.OK():
		return tracingProgWalkLoop
	default:
		return tracingProgWalkBounded
	}
}

func planFentry(f *preflight.Features) (*Plan, error) {
	if err := working("BTF type information", f.BTF, "ring buffers", f.RingBuf, "BTF trampolines", f.Fentry); err != nil {
		return nil, err
	}
	if err := present(f, "inet_csk_accept", "tcp_set_state"); err != nil {
		return nil, err
	}
	p := &Plan{Mode: Fentry, Why: "BTF trampolines work here: everything is exact"}
	switch n := f.Functions["inet_csk_accept"].Params; n {
	case 2:
		p.add(f, hook{program: tracingProgAcceptExitTwoArgs, symbol: "inet_csk_accept", role: RoleAccept})
	case 4:
		p.add(f, hook{program: tracingProgAcceptExitFourArgs, symbol: "inet_csk_accept", role: RoleAccept})
	default:
		return nil, fmt.Errorf("inet_csk_accept has %d parameters, which this version does not know", n)
	}
	p.add(f, hook{program: tracingProgStateEntry, symbol: "tcp_set_state", role: RoleState})
	p.add(f, hook{program: tracingProgHashdanceExit, symbol: "inet_csk_complete_hashdance", role: RoleEnqueue, optional: true})
	p.add(f, hook{program: tracingProgQueueAddExit, symbol: "inet_csk_reqsk_queue_add", role: RoleEnqueue, optional: true})
	p.add(f, hook{program: tracingProgForgetEntry, symbol: "inet_child_forget", role: RolePurge, optional: true})
	p.add(f, hook{program: tracingProgListenStopExit, symbol: "inet_csk_listen_stop", role: RoleClose, optional: true})
	p.add(f, hook{program: tracingProgGraftEntry, symbol: "security_sock_graft", role: RoleGraft, optional: true})
	return p, nil
}

func planKprobe(f *preflight.Features) (*Plan, error) {
	if err := working("BTF type information", f.BTF, "ring buffers", f.RingBuf, "kprobes", f.Kprobe, "bpf_probe_read_kernel", f.ProbeRead); err != nil {
		return nil, err
	}
	// An exit probe on the blocking inet_csk_accept loses calls when many
	// threads block in it, so the return is seen at security_sock_graft.
	if err := present(f, "inet_csk_accept", "tcp_set_state", "security_sock_graft"); err != nil {
		return nil, err
	}
	p := &Plan{Mode: Kprobe}
	p.add(f, hook{program: kprobeProgAcceptKprobe, symbol: "inet_csk_accept", kind: kprobe, role: RoleAccept})
	p.add(f, hook{program: kprobeProgGraftKprobe, symbol: "security_sock_graft", kind: kprobe, role: RoleAccept})
	p.add(f, hook{program: kprobeProgStateKprobe, symbol: "tcp_set_state", kind: kprobe, role: RoleState})
	for _, h := range []hook{
		{program: kprobeProgHashdanceKprobe, symbol: "inet_csk_complete_hashdance", kind: kprobe, role: RoleEnqueue},
		{program: kprobeProgHashdanceKretprobe, symbol: "inet_csk_complete_hashdance", kind: kretprobe, role: RoleEnqueue},
		{program: kprobeProgQueueAddKprobe, symbol: "inet_csk_reqsk_queue_add", kind: kprobe, role: RoleEnqueue},
		{program: kprobeProgQueueAddKretprobe, symbol: "inet_csk_reqsk_queue_add", kind: kretprobe, role: RoleEnqueue},
		{program: kprobeProgForgetKprobe, symbol: "inet_child_forget", kind: kprobe, role: RolePurge},
		{program: kprobeProgListenStopKprobe, symbol: "inet_csk_listen_stop", kind: kprobe, role: RoleClose},
		{program: kprobeProgListenStopKretprobe, symbol: "inet_csk_listen_stop", kind: kretprobe, role: RoleClose},
	} {
		h.optional = true
		p.add(f, h)
	}
	p.Limits = append(p.Limits, "accepts of MPTCP connections are not seen", "a kprobe that another probe interrupts is skipped: what was missed is counted where the kernel counts it")
	return p, nil
}

func planRestricted(f *preflight.Features) (*Plan, error) {
	if err := working("BTF type information", f.BTF, "ring buffers", f.RingBuf, "typed tracepoints", f.TpBTF, "socket iterators", f.IterTCP); err != nil {
		return nil, err
	}
	return &Plan{
		Mode:  Restricted,
		hooks: []hook{{program: tracingProgStateTracepoint, symbol: "inet_sock_set_state", role: RoleState}},
		Limits: []string{
			fmt.Sprintf("accept() itself cannot be watched: waits are sampled every %s, and connections that come and go in between show only in the counts", sampleEvery),
			"who accepted a connection is not known",
		},
	}, nil
}

// add takes the hook if the kernel has the function; what an optional one that
// is missing means goes into the limits.
func (p *Plan) add(f *preflight.Features, h hook) {
	if f.Functions[h.symbol].InBTF {
		p.hooks = append(p.hooks, h)
		return
	}
	if !p.has(h.role) {
		p.Limits = append(p.Limits, fmt.Sprintf("this kernel has no %s: %s", h.symbol, missingHook(h.role)))
	}
}

func (p *Plan) has(role Role) bool {
	for _, h := range p.hooks {
		if h.role == role {
			return true
		}
	}
	return false
}

// missingHook says what is not seen without a hook of this role.
func missingHook(role Role) string {
	switch role {
	case RoleEnqueue:
		return "connections that enter a queue are not counted"
	case RolePurge:
		return "connections dropped by a closing listener are not counted"
	case RoleClose:
		return "a closed listener is noticed late"
	case RoleGraft:
		return "the next connection of each thread that blocks in accept() since before the start is not reported, nor a connection whose accept the kernel skipped"
	default:
		return "some events are not seen"
	}
}

// working returns an error for the first of the named trials that failed.
func working(named ...any) error {
	for i := 0; i < len(named); i += 2 {
		t, name := named[i+1].(preflight.Trial), named[i].(string)
		switch {
		case t.OK():
		case t.Reason == preflight.Privilege:
			return fmt.Errorf("no privilege for %s", name)
		case t.Reason == preflight.Policy:
			return fmt.Errorf("%s refused by this host's policy", name)
		case t.Reason == preflight.Lacking:
			return fmt.Errorf("this kernel has no %s", name)
		default:
			return fmt.Errorf("%s: %w", name, t.Err)
		}
	}
	return nil
}

func present(f *preflight.Features, symbols ...string) error {
	for _, s := range symbols {
		if !f.Functions[s].InBTF {
			return fmt.Errorf("this kernel has no function %s", s)
		}
	}
	return nil
}
