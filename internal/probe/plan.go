package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/preflight"
)

// Mode says how the kernel is watched.
type Mode string

// The modes, best first. None has a zero value's meaning: "" in Options asks
// for the best that works.
const (
	Fentry     Mode = preflight.ModeFentry     // BTF trampolines: everything is exact
	Kprobe     Mode = preflight.ModeKprobe     // kprobes: everything, with counted losses
	Restricted Mode = preflight.ModeRestricted // typed tracepoints: deaths are exact, waits sampled
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

// object is what a program was compiled into: how it reads kernel memory.
type object uint8

const (
	typed   object = iota // by typed pointers, which lockdown permits
	probing               // by bpf_probe_read_kernel
)

// way is one program that can do a hook's work.
type way struct {
	object  object
	program string // as in the object
	kind    kind
}

// hook is one kernel function that is watched.
type hook struct {
	way
	symbol string // kernel function or tracepoint
	role   Role
	// optional hooks may fail to attach; the plan's limits then say what is
	// missing.
	optional bool
	// replaceable hooks have an older carrier, which Open takes when the kernel
	// refuses them or never calls them.
	replaceable bool
	// others are tried in turn when the first way does not load or attach.
	others []way
	// forMPTCP hooks cost other connections something: they are attached
	// when a listener is met that takes MPTCP.
	forMPTCP bool
}

// apart says that the hook's programs are loaded one by one: the kernel may
// refuse one, or it is of the other object than the mode's.
func (p *Plan) apart(h *hook) bool {
	return h.object != p.Mode.object() || len(h.others) > 0 || p.single && (h.optional || h.replaceable)
}

// object is where most programs of the mode are.
func (m Mode) object() object {
	if m == Kprobe {
		return probing
	}
	return typed
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

	RoleOverflow Role = "overflow" // connections are refused because the queue is full
	RoleError    Role = "error"    // accept() fails
	RoleMigrate  Role = "migrate"  // connections move to another listener of their group
	RoleMPTCP    Role = "mptcp"    // MPTCP connections die in the queue
)

// Plan is what is loaded and attached.
type Plan struct {
	Mode   Mode
	Why    string   // why this mode and no better one, in words
	Limits []string // what this mode cannot see, a sentence each
	// Missing are functions that this kernel does not have, and no other hook
	// sees what they would.
	Missing []preflight.Missing
	hooks   []hook
	walk    string // program of the socket iterator; empty: none works
	// probeRead says that programs may use bpf_probe_read_kernel.
	probeRead bool
	// single says that the kernel refused the programs together: those that
	// it can do without are loaded one by one.
	single bool
	// types are the kernel's, shared by all that is loaded at the start; nil: who
	// loads decodes them anew.
	types *btf.Cache
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
			plan.probeRead = f.ProbeRead.OK()
			plan.types = f.Types
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
	return nil, &UnsupportedError{Reasons: refused, missing: missingForEBPF(f)}
}

// UnsupportedError says why no mode works.
type UnsupportedError struct {
	Reasons []string
	missing string // privileges
}

func (e *UnsupportedError) Error() string {
	if e.missing != "" {
		return "attach to the kernel: eBPF needs " + e.missing + "; run it with sudo"
	}
	return fmt.Sprintf("attach to the kernel: %s; run 'acceptwatch doctor' to see what this kernel allows", strings.Join(e.Reasons, "; "))
}

// missingForEBPF names the privileges that eBPF needs and this process does not
// have; empty: it has them.
func missingForEBPF(f *preflight.Features) string {
	if f.Fentry.Reason != preflight.Privilege {
		return ""
	}
	var names []string
	for _, c := range f.Caps.Missing() {
		if c.Required() {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return "privileges in the initial user namespace, which this process is not in"
	}
	return strings.Join(names, " and ") + ", which this process does not have"
}

// unseenWithout says what is not seen for want of privileges, a sentence each.
func unseenWithout(caps capability.Set) []string {
	var limits []string
	for _, c := range caps.Missing() {
		if !c.Required() {
			limits = append(limits, c.Name+" is missing: "+c.Without)
		}
	}
	return limits
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
	p := &Plan{Mode: Fentry, Why: "BTF trampolines work here: everything is exact"}
	if err := p.addState(f, onTyped(tracingProgStateEntry), onTyped(tracingProgFinEntry), onTyped(tracingProgFailureEntry)); err != nil {
		return nil, err
	}
	// Who enters and leaves between these is taken for queued at the start: they
	// are attached one right after the other, here and with kprobes.
	if err := p.addAccept(f); err != nil {
		return nil, err
	}
	graft := hook{way: onTyped(tracingProgGraftEntry), symbol: "security_sock_graft", role: RoleGraft}
	for _, h := range slices.Concat([]hook{graft}, enqueueHooks(f), []hook{
		{way: onTyped(tracingProgForgetEntry), symbol: "inet_child_forget", role: RolePurge},
		{way: onTyped(tracingProgListenStopExit), symbol: "inet_csk_listen_stop", role: RoleClose},
		{way: onTyped(tracingProgSynEntry), symbol: "tcp_conn_request", role: RoleOverflow},
		// The 6.1 of Debian refuses trampolines on these two, and takes kprobes.
		{way: onTyped(tracingProgLastAckV4Entry), symbol: "tcp_v4_syn_recv_sock", role: RoleOverflow,
			others: []way{{probing, probingProgLastAckV4Kprobe, kprobe}}},
		{way: onTyped(tracingProgLastAckV6Entry), symbol: "tcp_v6_syn_recv_sock", role: RoleOverflow,
			others: []way{{probing, probingProgLastAckV6Kprobe, kprobe}}},
		// Under lockdown the program cannot find the listener: user space does.
		{way: way{probing, probingProgSyscallExit, tracing}, symbol: "__sys_accept4", role: RoleError,
			others: []way{onTyped(tracingProgSyscallExit)}},
		{way: way{probing, probingProgIoUringExit, tracing}, symbol: "io_accept", role: RoleError,
			others: []way{onTyped(tracingProgIoUringExit)}},
	}) {
		h.optional = true
		p.add(f, h)
	}
	p.addMigration(f, hook{way: onTyped(tracingProgMigrateExit)})
	p.addMPTCP(f)
	return p, nil
}

func onTyped(program string) way { return way{typed, program, tracing} }

func planKprobe(f *preflight.Features) (*Plan, error) {
	if err := working("BTF type information", f.BTF, "ring buffers", f.RingBuf, "kprobes", f.Kprobe, "bpf_probe_read_kernel", f.ProbeRead); err != nil {
		return nil, err
	}
	// An exit probe on the blocking inet_csk_accept loses calls when many
	// threads block in it, so the return is seen at security_sock_graft.
	if err := present(f, "inet_csk_accept", "security_sock_graft"); err != nil {
		return nil, err
	}
	p := &Plan{Mode: Kprobe}
	entry := func(program string) way { return way{probing, program, kprobe} }
	exit := func(program string) way { return way{probing, program, kretprobe} }
	if err := p.addState(f, entry(probingProgStateKprobe), entry(probingProgFinKprobe), entry(probingProgFailureKprobe)); err != nil {
		return nil, err
	}
	p.add(f, hook{way: entry(probingProgAcceptKprobe), symbol: "inet_csk_accept", role: RoleAccept})
	p.add(f, hook{way: entry(probingProgGraftKprobe), symbol: "security_sock_graft", role: RoleAccept})
	for _, h := range []hook{
		{way: entry(probingProgHashdanceKprobe), symbol: "inet_csk_complete_hashdance", role: RoleEnqueue},
		{way: exit(probingProgHashdanceKretprobe), symbol: "inet_csk_complete_hashdance", role: RoleEnqueue},
		{way: entry(probingProgQueueAddKprobe), symbol: "inet_csk_reqsk_queue_add", role: RoleEnqueue},
		{way: exit(probingProgQueueAddKretprobe), symbol: "inet_csk_reqsk_queue_add", role: RoleEnqueue},
		{way: entry(probingProgForgetKprobe), symbol: "inet_child_forget", role: RolePurge},
		{way: entry(probingProgListenStopKprobe), symbol: "inet_csk_listen_stop", role: RoleClose},
		{way: exit(probingProgListenStopKretprobe), symbol: "inet_csk_listen_stop", role: RoleClose},
		{way: entry(probingProgSynKprobe), symbol: "tcp_conn_request", role: RoleOverflow},
		{way: entry(probingProgLastAckV4Kprobe), symbol: "tcp_v4_syn_recv_sock", role: RoleOverflow},
		{way: entry(probingProgLastAckV6Kprobe), symbol: "tcp_v6_syn_recv_sock", role: RoleOverflow},
		{way: entry(probingProgSyscallKprobe), symbol: "__sys_accept4", role: RoleError},
		{way: exit(probingProgSyscallKretprobe), symbol: "__sys_accept4", role: RoleError},
		{way: entry(probingProgIoUringKprobe), symbol: "io_accept", role: RoleError},
		{way: exit(probingProgIoUringKretprobe), symbol: "io_accept", role: RoleError},
	} {
		h.optional = true
		p.add(f, h)
	}
	p.addMigration(f, hook{way: entry(probingProgMigrateKprobe)}, hook{way: exit(probingProgMigrateKretprobe)})
	p.addMPTCP(f)
	p.Limits = append(p.Limits,
		"a kprobe that another probe interrupts is skipped: what was missed is counted where the kernel counts it",
		"failed accepts are missed while many threads of the host block in accept() (ten, or two for each CPU)")
	return p, nil
}

func planRestricted(f *preflight.Features) (*Plan, error) {
	if err := working("BTF type information", f.BTF, "ring buffers", f.RingBuf, "typed tracepoints", f.TpBTF, "socket iterators", f.IterTCP); err != nil {
		return nil, err
	}
	p := &Plan{
		Mode:  Restricted,
		hooks: []hook{{way: way{typed, tracingProgStateTracepoint, tracing}, symbol: "inet_sock_set_state", role: RoleState}},
		Limits: []string{
			fmt.Sprintf("accept() itself cannot be watched: waits are sampled every %s, and connections that come and go in between show only in the counts", sampleEvery),
			"who accepted a connection, refused connections and failed accepts are not known",
		},
	}
	p.addMPTCP(f)
	return p, nil
}

// addMigration adds the hooks that see connections change their listener, which
// kernels before 5.14 do not do.
func (p *Plan) addMigration(f *preflight.Features, hooks ...hook) {
	for _, h := range hooks {
		h.symbol, h.role, h.optional = "reuseport_migrate_sock", RoleMigrate, true
		if f.Functions[h.symbol].InBTF {
			p.hooks = append(p.hooks, h)
		}
	}
}

// addMPTCP adds the hook that sees MPTCP sockets change their state: a
// tracepoint that TCP sockets pass too.
func (p *Plan) addMPTCP(f *preflight.Features) {
	switch {
	case !f.Functions["mptcp_stream_accept"].InBTF:
	case !f.ProbeRead.OK():
		p.Limits = append(p.Limits, "an MPTCP client that hangs up in the queue is taken for one that waits: bpf_probe_read_kernel is refused")
	case !f.TpBTF.OK():
		p.Limits = append(p.Limits, "an MPTCP client that hangs up in the queue is noticed by a walk of the queues, within seconds: typed tracepoints are refused")
	default:
		p.hooks = append(p.hooks, hook{way: way{probing, probingProgMptcpStateTracepoint, tracing},
			symbol: "inet_sock_set_state", role: RoleMPTCP, optional: true, forMPTCP: true})
	}
}

// add takes the hook if the kernel has the function; what an optional one that
// is missing means goes into the limits.
func (p *Plan) add(f *preflight.Features, h hook) {
	if f.Functions[h.symbol].InBTF {
		p.hooks = append(p.hooks, h)
		return
	}
	if h.role == RoleEnqueue && p.has(h.role) { // the other carrier
		return
	}
	missing := preflight.Missing{Function: h.symbol, Consequence: p.without(h.role), Vital: h.role == RoleEnqueue}
	if !slices.Contains(p.Missing, missing) {
		p.Missing = append(p.Missing, missing)
		p.Limits = append(p.Limits, fmt.Sprintf("this kernel has no %s: %s", missing.Function, missing.Consequence))
	}
}

// without says what this plan does not see without a hook of the role.
func (p *Plan) without(role Role) string {
	if role == RoleGraft && p.watches(inetAccept) {
		return "a connection whose accept the kernel skipped is not reported"
	}
	return missingHook(role)
}

func (p *Plan) has(role Role) bool {
	return slices.ContainsFunc(p.hooks, func(h hook) bool { return h.role == role })
}

func (p *Plan) watches(symbol string) bool {
	return slices.ContainsFunc(p.hooks, func(h hook) bool { return h.symbol == symbol })
}

// missingHook says what is not seen without a hook of this role.
func missingHook(role Role) string {
	switch role {
	case RoleEnqueue:
		return "connections that enter a queue are not counted"
	case RoleState:
		return "clients that hang up in a queue are noticed when they are accepted, or by a walk of the queues, within seconds"
	case RolePurge:
		return "connections dropped by a closing listener are not counted"
	case RoleClose:
		return "a closed listener is noticed late"
	case RoleOverflow:
		return "not all connections that a full queue refuses are seen"
	case RoleError:
		return "failed accepts, such as those for want of descriptors, are not all seen"
	case RoleMigrate:
		return "connections that change their listener are not counted"
	case RoleMPTCP:
		return "an MPTCP client that hangs up in the queue is noticed by a walk of the queues, within seconds"
	case RoleGraft:
		return "the next connection of each thread that blocks in accept() since before the start is not reported, nor a connection whose accept the kernel skipped"
	default:
		return "some events are not seen"
	}
}

// working returns an error for the first of the named trials that failed.
func working(named ...any) error {
	var paranoid *preflight.ParanoidError
	for i := 0; i < len(named); i += 2 {
		t, name := named[i+1].(preflight.Trial), named[i].(string)
		switch {
		case t.OK():
		case errors.As(t.Err, &paranoid):
			return fmt.Errorf("no privilege for %s: kernel.perf_event_paranoid is %d, which asks for CAP_SYS_ADMIN", name, paranoid.Level)
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
