package preflight

import (
	"errors"
	"fmt"
	"strings"
)

// Diagnose turns what was found into findings, in the order in which one
// depends on the other. It is pure.
func Diagnose(h Host) []Finding {
	var out []Finding
	add := func(findings ...Finding) { out = append(out, findings...) }
	f := h.Features
	add(kernelFinding(f), privilegeFinding(f))
	if f.Memlock.Counts {
		add(memlockFinding(f))
	}
	add(btfFinding(h), ringBufFinding(f), fentryFinding(h), kprobeFinding(h), probeReadFinding(h),
		tpBTFFinding(h), iterFinding(h))
	add(lockdownFinding(f)...)
	add(functionFindings(h)...)
	add(canaryFindings(h)...)
	add(diagFinding(h))
	add(sightFindings(f)...)
	return out
}

func kernelFinding(f *Features) Finding {
	found := Finding{ID: "kernel", Status: OK, What: fmt.Sprintf("Linux %s on %s", f.Release, f.Arch)}
	switch {
	case f.Major == 0:
		found.Status = Warn
		found.Consequence = "its version cannot be read, so some advice below may be wrong"
	case !f.AtLeast(5, 8):
		found.Status = Fail
		found.Consequence = "too old for eBPF here: 5.8 brought the ring buffer; 5.10 and later are tested"
		found.Remedy = "use a kernel of 5.10 or later"
	case !f.AtLeast(5, 10):
		found.Status = Warn
		found.Consequence = "kernels before 5.10 are not tested"
	}
	return found
}

func privilegeFinding(f *Features) Finding {
	found := Finding{ID: "privileges", Status: OK, What: capsText(f.Caps)}
	switch {
	case !f.OuterUser:
		found.Status = Fail
		found.What += ", in a user namespace"
		found.Consequence = "the kernel counts them for eBPF in the initial user namespace only"
		found.Remedy = privilegeRemedy(f)
	case !f.Caps.Tracing():
		found.Status = Fail
		found.Consequence = "eBPF needs bpf and perfmon, or sys_admin"
		if !f.AtLeast(5, 8) {
			found.Consequence = "eBPF needs sys_admin"
		}
		found.Remedy = privilegeRemedy(f)
	}
	return found
}

func memlockFinding(f *Features) Finding {
	found := Finding{ID: "memlock", Status: OK,
		What: "RLIMIT_MEMLOCK applies to eBPF before Linux 5.11; lifted from " + bytesText(f.Memlock.Limit)}
	if f.Memlock.Err != nil {
		found.Status = Fail
		found.What = "RLIMIT_MEMLOCK applies to eBPF before Linux 5.11; it is " + bytesText(f.Memlock.Limit)
		found.Consequence = "maps and programs may not load"
		found.Remedy = "run it with sudo, or raise it: ulimit -l unlimited"
		found.Error = f.Memlock.Err.Error()
	}
	return found
}

// program makes the finding of one trial. bad is the status if it did not work.
func program(id, what string, f *Features, t Trial, bad Status, consequence, lacking string) Finding {
	found := Finding{ID: id, Status: OK, What: what + " " + negative(t)}
	if t.OK() {
		return found
	}
	found.Status = bad
	found.Consequence = consequence
	if bad != OK {
		found.Remedy = remedy(f, t, lacking)
	}
	found.Error = errorText(t.Err)
	return found
}

// ifModeless is Fail if there is no eBPF mode, else what a mode without this
// one deserves.
func ifModeless(h Host, otherwise Status) Status {
	if h.Plan.Mode == ModeNone {
		return Fail
	}
	return otherwise
}

func btfFinding(h Host) Finding {
	return program("btf", "reading the kernel's types (BTF)", h.Features, h.Features.BTF, Fail,
		"no eBPF program can be fitted to this kernel",
		"use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as current distributions' are")
}

func ringBufFinding(f *Features) Finding {
	return program("ring_buffer", "the ring buffer", f, f.RingBuf, Fail,
		"events cannot reach user space", "use a kernel of 5.8 or later")
}

func fentryFinding(h Host) Finding {
	consequence := "the next best mode is " + h.Plan.Mode
	if h.Plan.Mode == ModeNone {
		consequence = "fentry mode needs it"
	}
	lacking := "use a kernel built with CONFIG_FUNCTION_TRACER=y and CONFIG_DEBUG_INFO_BTF=y"
	if h.Features.Arch == "arm64" && !h.Features.AtLeast(6, 4) {
		lacking = "use Linux 6.4 or later: arm64 got what fentry needs there"
	}
	return program("fentry", "attaching fentry", h.Features, h.Features.Fentry, ifModeless(h, Warn), consequence, lacking)
}

func kprobeFinding(h Host) Finding {
	status, consequence := Warn, "accept waits can only be sampled"
	switch h.Plan.Mode {
	case ModeFentry:
		status, consequence = OK, "not needed: fentry works"
	case ModeNone:
		status, consequence = Fail, "kprobe mode needs it"
	}
	found := program("kprobe", "attaching a kprobe", h.Features, h.Features.Kprobe, status, consequence,
		"use a kernel built with CONFIG_KPROBE_EVENTS=y")
	if paranoid := (*ParanoidError)(nil); status != OK && errors.As(h.Features.Kprobe.Err, &paranoid) {
		found.Remedy = "add CAP_SYS_ADMIN, or set kernel.perf_event_paranoid to 2"
	}
	return found
}

func probeReadFinding(h Host) Finding {
	status, consequence := ifModeless(h, Warn), "kprobe mode cannot read kernel memory"
	if h.Plan.Mode == ModeFentry || h.Plan.Mode == ModeRestricted {
		status, consequence = OK, "not needed: the programs of this mode read typed fields"
	}
	found := h.Features.ProbeRead
	if found.Reason == Lacking && h.Features.Lockdown == "confidentiality" {
		// The verifier is told that there is no such helper, which is EINVAL
		// (bpf_base_func_proto, kernel/bpf/helpers.c).
		found.Reason = Policy
	}
	return program("probe_read", "reading kernel memory by address", h.Features, found, status,
		consequence, "use a kernel of 5.5 or later")
}

func tpBTFFinding(h Host) Finding {
	consequence := "MPTCP clients that give up are not seen"
	if h.Plan.Mode == ModeNone {
		consequence = "restricted mode needs it"
	}
	return program("tp_btf", "attaching tp_btf", h.Features, h.Features.TpBTF, ifModeless(h, Warn), consequence,
		"use a kernel of 5.5 or later")
}

func iterFinding(h Host) Finding {
	consequence := "what was in a queue before the tracer came is seen only when it leaves"
	if h.Plan.Mode == ModeNone {
		consequence = "restricted mode needs it"
	}
	return program("iter_tcp", "walking sockets (iter/tcp)", h.Features, h.Features.IterTCP, ifModeless(h, Warn), consequence,
		"use a kernel of 5.9 or later")
}

func lockdownFinding(f *Features) []Finding {
	found := Finding{ID: "lockdown", Status: OK, What: "lockdown is " + f.Lockdown}
	switch f.Lockdown {
	case "":
		return nil
	case "confidentiality":
		found.Consequence = "kprobes and reads of kernel memory are refused; fentry and tp_btf are not"
		if !f.Fentry.OK() {
			found.Status = Warn
		}
	case "integrity":
		found.Consequence = "it does not stop tracing"
	}
	return []Finding{found}
}

// functionFindings are about kernel functions that the mode would hook.
func functionFindings(h Host) []Finding {
	var out []Finding
	for _, missing := range h.Plan.Missing {
		found := Finding{ID: "function_" + missing.Function, Status: Warn,
			What: "this kernel has no " + missing.Function, Consequence: missing.Consequence}
		if missing.Vital {
			found.Status = Fail
		}
		out = append(out, found)
	}
	return out
}

// canaryFindings has one finding for each role of hooks, in the order of the
// canary.
func canaryFindings(h Host) []Finding {
	if h.AttachErr != nil {
		return []Finding{{ID: "attach", Status: Fail, What: "attaching in mode " + h.Plan.Mode + " fails",
			Consequence: "no events, though each program type works by itself",
			Remedy:      "report it, with the kernel's version; --mode may force another mode", Error: h.AttachErr.Error()}}
	}
	if h.CanaryErr != nil {
		return []Finding{{ID: "canary", Status: Warn, What: "the test connection could not be traced",
			Consequence: "whether the hooks are called on this kernel is not proven", Error: h.CanaryErr.Error()}}
	}
	if h.Canary == nil {
		return nil
	}
	var roles []string
	byRole := make(map[string][]Hook)
	for _, hook := range h.Canary.Hooks {
		if byRole[hook.Role] == nil {
			roles = append(roles, hook.Role)
		}
		byRole[hook.Role] = append(byRole[hook.Role], hook)
	}
	var out []Finding
	for _, role := range roles {
		out = append(out, roleFinding(role, byRole[role]))
	}
	return out
}

// roleFinding fails if nothing carries the role, warns if a hook that ought to
// see the connection did not, and names the live ones.
func roleFinding(role string, hooks []Hook) Finding {
	var live, silent, missed []string
	for _, hook := range hooks {
		switch {
		case hook.Fired > 0:
			live = append(live, hook.Name)
		case hook.Expected:
			missed = append(missed, hook.Name)
		default:
			silent = append(silent, hook.Name)
		}
	}
	found := Finding{ID: "canary_" + role, Status: OK,
		What: "a test connection: " + role + " is seen at " + strings.Join(live, ", ")}
	if len(silent) > 0 {
		found.Consequence = "silent, as expected here: " + strings.Join(silent, ", ")
	}
	switch {
	case len(live) == 0 && len(missed) == 0:
		found.What = "a test connection: nothing was expected to see " + role
	case len(live) == 0:
		found.Status = Fail
		found.What = "a test connection: " + role + " was not seen, though attached to " + strings.Join(missed, ", ")
		found.Consequence = "this kernel does not call what is hooked: counts of " + role + " would be 0"
		found.Remedy = "report it, with the kernel's version and compiler"
	case len(missed) > 0:
		found.Status = Warn
		found.Consequence = "silent, and ought not to be: " + strings.Join(missed, ", ")
		found.Remedy = "report it, with the kernel's version and compiler"
	}
	return found
}

func diagFinding(h Host) Finding {
	found := Finding{ID: "sock_diag", Status: OK, What: "listing TCP sockets (sock_diag) works"}
	if h.DiagErr != nil {
		found.Status = Warn
		if h.Plan.Mode == ModeNone {
			found.Status = Fail
		}
		found.What = "listing TCP sockets (sock_diag) fails"
		found.Consequence = "a descriptor leak (CLOSE_WAIT held open) is not told from connections nobody accepted"
		found.Remedy = "run `modprobe tcp_diag` as root, on the host if this is a container"
		found.Error = h.DiagErr.Error()
	}
	return found
}

// sightFindings are about what can be named and reached, apart from events.
func sightFindings(f *Features) []Finding {
	var out []Finding
	for _, c := range f.Caps.Missing() {
		if !c.Required() {
			out = append(out, Finding{ID: lower(c), Status: Warn,
				What: c.Name + " is missing", Consequence: c.Without, Remedy: "run it with sudo, or add " + c.Name})
		}
	}
	if !f.OuterPID {
		out = append(out, Finding{ID: "pid_namespace", Status: Warn,
			What:        "this is a PID namespace of its own",
			Consequence: "processes outside it cannot be named",
			Remedy:      "run it on the host, or the container with --pid=host"})
	}
	return out
}
