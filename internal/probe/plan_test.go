package probe

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"acceptwatch/internal/preflight"
)

// kernelWith is a kernel on which everything works, changed by each case.
func kernelWith(acceptParams int, change func(*preflight.Features)) *preflight.Features {
	yes := preflight.Trial{Answer: preflight.Yes}
	f := &preflight.Features{
		BTF: yes, Fentry: yes, Kprobe: yes, TpBTF: yes, IterTCP: yes, RingBuf: yes, ProbeRead: yes, Loop: yes,
		Functions: map[string]preflight.Function{}, Major: 6, Minor: 12,
	}
	for _, name := range append(preflight.FunctionNames(), "inet_sock_set_state") {
		f.Functions[name] = preflight.Function{InBTF: true, Params: 2}
	}
	f.Functions["inet_csk_accept"] = preflight.Function{InBTF: true, Params: acceptParams}
	change(f)
	return f
}

// castingKernel is one that lets typed programs cast, from 6.2 on.
func castingKernel(change func(*preflight.Features)) *preflight.Features {
	return kernelWith(2, func(f *preflight.Features) {
		for _, name := range []string{inetAccept, childProcess} {
			f.Functions[name] = preflight.Function{InBTF: true, Params: 3}
		}
		change(f)
	})
}

func refused(r preflight.Reason) preflight.Trial {
	return preflight.Trial{Answer: preflight.No, Reason: r, Err: errors.New("operation not permitted")}
}

func TestMakePlan(t *testing.T) {
	cases := map[string]struct {
		kernel  *preflight.Features
		force   Mode
		mode    Mode
		program string // that must be in it
		walk    string
		why     string
		limit   string
		err     string
	}{
		"newest":  {kernel: kernelWith(2, func(*preflight.Features) {}), mode: Fentry, program: tracingProgAcceptExitTwoArgs, walk: tracingProgWalkLoop, why: "exact"},
		"pre6.10": {kernel: kernelWith(4, func(*preflight.Features) {}), mode: Fentry, program: tracingProgAcceptExitFourArgs, walk: tracingProgWalkLoop},
		"5.10": {kernel: kernelWith(4, func(f *preflight.Features) { f.Loop = refused(preflight.Lacking) }),
			mode: Fentry, program: tracingProgAcceptExitFourArgs, walk: tracingProgWalkBounded},
		"lockdown": {kernel: kernelWith(2, func(f *preflight.Features) {
			f.Kprobe, f.ProbeRead = refused(preflight.Policy), refused(preflight.Policy)
		}), mode: Fentry, program: tracingProgAcceptExitTwoArgs, walk: tracingProgWalkLoop},
		"no trampolines": {kernel: kernelWith(4, func(f *preflight.Features) { f.Fentry = refused(preflight.Lacking) }),
			mode: Kprobe, program: probingProgGraftKprobe, walk: tracingProgWalkLoop, why: "this kernel has no BTF trampolines", limit: "a kprobe that another probe interrupts"},
		"tracepoints only": {kernel: kernelWith(2, func(f *preflight.Features) {
			f.Fentry, f.Kprobe = refused(preflight.Policy), refused(preflight.Lacking)
		}), mode: Restricted, program: tracingProgStateTracepoint, walk: tracingProgWalkLoop, why: "BTF trampolines refused by this host's policy", limit: "sampled every 100ms"},
		"forced": {kernel: kernelWith(2, func(*preflight.Features) {}), force: Restricted, mode: Restricted, why: "forced"},
		"forced in vain": {kernel: kernelWith(2, func(f *preflight.Features) { f.Kprobe = refused(preflight.Lacking) }), force: Kprobe,
			err: "this kernel has no kprobes; run 'acceptwatch doctor'"},
		"unknown mode": {kernel: kernelWith(2, func(*preflight.Features) {}), force: "turbo", err: "not one of fentry, kprobe, restricted"},
		"unprivileged": {kernel: kernelWith(2, func(f *preflight.Features) {
			no := refused(preflight.Privilege)
			f.Fentry, f.Kprobe, f.TpBTF, f.IterTCP = no, no, no, no
		}), err: "run it with sudo"},
		"unknown signature": {kernel: kernelWith(3, func(f *preflight.Features) { f.Kprobe, f.TpBTF = refused(preflight.Policy), refused(preflight.Policy) }),
			err: "inet_csk_accept has 3 parameters"},
		"no iterator": {kernel: kernelWith(2, func(f *preflight.Features) { f.IterTCP = refused(preflight.Lacking) }),
			mode: Fentry, limit: "queued before the start is not listed"},
		"no enqueue carrier": {kernel: kernelWith(2, func(f *preflight.Features) {
			delete(f.Functions, hashdance)
			delete(f.Functions, queueAdd)
		}), mode: Fentry, limit: "connections that enter a queue are not counted"},
		"accept by its entry":          {kernel: castingKernel(func(*preflight.Features) {}), mode: Fentry, program: tracingProgInetAcceptEntry},
		"no cast for it":               {kernel: castingKernel(func(f *preflight.Features) { delete(f.Functions, "bpf_rdonly_cast") }), mode: Fentry, program: tracingProgAcceptExitTwoArgs},
		"enqueue by its entry":         {kernel: castingKernel(func(*preflight.Features) {}), mode: Fentry, program: tracingProgChildEntry},
		"Fast Open apart":              {kernel: castingKernel(func(*preflight.Features) {}), mode: Fentry, program: tracingProgFastOpenExit},
		"deaths where they are":        {kernel: kernelWith(2, func(f *preflight.Features) { f.Minor = 11 }), mode: Fentry, program: tracingProgFailureEntry},
		"not where all deaths are":     {kernel: kernelWith(4, func(f *preflight.Features) { f.Minor = 6 }), mode: Fentry, program: tracingProgStateEntry},
		"the same, kprobes":            {kernel: kernelWith(4, func(f *preflight.Features) { f.Minor = 1 }), force: Kprobe, mode: Kprobe, program: probingProgStateKprobe},
		"deaths, without the older":    {kernel: kernelWith(2, func(f *preflight.Features) { delete(f.Functions, setState) }), mode: Fentry, program: tracingProgFinEntry},
		"accepts, without the older":   {kernel: castingKernel(func(f *preflight.Features) { delete(f.Functions, cskAccept) }), mode: Fentry, program: tracingProgInetAcceptEntry},
		"no place for deaths":          {kernel: kernelWith(4, func(f *preflight.Features) { delete(f.Functions, tcpFailure) }), mode: Fentry, program: tracingProgStateEntry},
		"no place for deaths, kprobes": {kernel: kernelWith(4, func(f *preflight.Features) { delete(f.Functions, tcpFin) }), force: Kprobe, mode: Kprobe, program: probingProgStateKprobe},
		"no deaths": {kernel: kernelWith(4, func(f *preflight.Features) {
			delete(f.Functions, tcpFin)
			delete(f.Functions, setState)
		}), force: Fentry, err: "no function tcp_set_state"},
		"no graft, no kprobe mode": {kernel: kernelWith(2, func(f *preflight.Features) { delete(f.Functions, "security_sock_graft") }), force: Kprobe,
			err: "no function security_sock_graft"},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			p, err := MakePlan(c.kernel, c.force)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Mode != c.mode || p.walk != c.walk && c.walk != "" || !strings.Contains(p.Why, c.why) {
				t.Errorf("mode %s, walk %q, why %q", p.Mode, p.walk, p.Why)
			}
			if c.program != "" && !slices.ContainsFunc(p.hooks, func(h hook) bool { return h.program == c.program }) {
				t.Errorf("no program %s in %v", c.program, p.hooks)
			}
			if c.limit != "" && !strings.Contains(strings.Join(p.Limits, "\n"), c.limit) {
				t.Errorf("no limit with %q in %q", c.limit, p.Limits)
			}
		})
	}
}

// What a kernel lacks is said only where the plan would hook it.
func TestMissingFunctions(t *testing.T) {
	none := func(*preflight.Features) {}
	cases := map[string]struct {
		kernel  *preflight.Features
		without string
		want    []preflight.Missing
	}{
		"nothing":            {kernel: kernelWith(4, none)},
		"carrier":            {kernelWith(4, none), hashdance, []preflight.Missing{{Function: hashdance, Consequence: missingHook(RoleEnqueue), Vital: true}}},
		"carrier not needed": {kernel: castingKernel(none), without: hashdance},
		"state not needed":   {kernel: castingKernel(none), without: setState},
		"graft":              {kernelWith(4, none), "security_sock_graft", []preflight.Missing{{Function: "security_sock_graft", Consequence: missingHook(RoleGraft)}}},
		"graft, accept by its entry": {castingKernel(none), "security_sock_graft",
			[]preflight.Missing{{Function: "security_sock_graft", Consequence: "a connection whose accept the kernel skipped is not reported"}}},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		p := must(MakePlan(c.kernel.Without(c.without), Fentry))(t)
		if !slices.Equal(p.Missing, c.want) || len(p.Limits) != len(c.want) {
			t.Errorf("%s: missing %+v, want %+v; limits %q", name, p.Missing, c.want, p.Limits)
		}
	}
}

// Every program and kernel function of a plan exists where it says.
func TestPlansNameProgramsOfTheirObject(t *testing.T) {
	f, casting := kernelWith(2, func(*preflight.Features) {}), castingKernel(func(*preflight.Features) {})
	for m, f := range map[Mode]*preflight.Features{Fentry: f, "": casting, Kprobe: f, Restricted: f} {
		p, err := MakePlan(f, m)
		check(t, err)
		m = p.Mode
		for _, h := range p.hooks {
			for _, w := range append([]way{h.way}, h.others...) {
				program := must(specOf(w.object))(t).Programs[w.program]
				if program == nil || program.AttachTo != h.symbol {
					t.Errorf("mode %s: no program %s on %s", m, w.program, h.symbol)
				}
			}
		}
		if must(specOf(m.object()))(t).Programs[p.walk] == nil {
			t.Errorf("mode %s: no program %s", m, p.walk)
		}
	}
}

// Programs of both objects share their maps and variables, so they must agree
// on where these are.
func TestObjectsShareTheirData(t *testing.T) {
	one, other := must(specOf(typed))(t), must(specOf(probing))(t)
	for name, m := range one.Maps {
		o := other.Maps[name]
		if o == nil || name == constants {
			continue
		}
		if m.Type != o.Type || m.KeySize != o.KeySize || m.ValueSize != o.ValueSize {
			t.Errorf("map %s is %v in the one and %v in the other", name, m, o)
		}
	}
	for name, v := range one.Variables {
		if v.SectionName == constants {
			continue
		}
		if o := other.Variables[name]; o == nil || v.Offset != o.Offset || v.Size() != o.Size() || v.SectionName != o.SectionName {
			t.Errorf("variable %s is %v in the one and %v in the other", name, v, o)
		}
	}
}

func TestChooseSizes(t *testing.T) {
	cases := map[string]struct {
		o        Options
		existing int
		want     sizes
	}{
		"small host":  {Options{}, 3, sizes{8 << 20, 4096, 1026, 8192, false}},
		"10,000":      {Options{}, 10000, sizes{8 << 20, 20000, 16384, 20000, false}},
		"a million":   {Options{}, 1000000, sizes{8 << 20, 1 << 20, 16384, 1 << 17, false}},
		"tiny ring":   {Options{RingSize: 1}, 0, sizes{4096, 4096, 1026, 8192, false}},
		"odd ring":    {Options{RingSize: 5000}, 0, sizes{8192, 4096, 1026, 8192, false}},
		"room":        {Options{Room: 5000}, 2000, sizes{8 << 20, 5000, 5002, 8192, false}},
		"no room":     {Options{Room: 5000}, 10000, sizes{8 << 20, 20000, 16384, 20000, false}},
		"few entries": {Options{Listeners: 16}, 0, sizes{8 << 20, 16, 18, 8192, false}},
	}
	for name, c := range cases {
		if got := chooseSizes(&c.o, c.existing, 4096); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
