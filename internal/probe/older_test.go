package probe

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"acceptwatch/internal/event"
	"acceptwatch/internal/preflight"
)

func TestOlderCarriers(t *testing.T) {
	cases := map[string]struct {
		without []string // functions that the kernel does not have
		silent  []string
		dead    []string
		older   []string // what the plan without these hooks then
	}{
		"accept":         {silent: []string{inetAccept}, dead: []string{inetAccept}, older: []string{cskAccept, childProcess, tcpFin}},
		"enqueue":        {silent: []string{childProcess, queueAdd}, dead: []string{childProcess}, older: []string{inetAccept, hashdance, queueAdd}},
		"hang-ups":       {silent: []string{tcpFin}, dead: []string{tcpFin}, older: []string{setState, childProcess}},
		"resets":         {silent: []string{tcpFailure}, dead: []string{tcpFailure}, older: []string{setState}},
		"all":            {silent: []string{inetAccept, childProcess, tcpFin, tcpFailure}, dead: []string{inetAccept, childProcess, tcpFin, tcpFailure}, older: []string{cskAccept, hashdance, setState}},
		"no accept":      {without: []string{cskAccept}, silent: []string{inetAccept}},
		"no enqueue":     {without: []string{hashdance}, silent: []string{childProcess}},
		"no state":       {without: []string{setState}, silent: []string{tcpFin, tcpFailure}},
		"no newer":       {without: []string{childProcess}, silent: []string{hashdance}},
		"the listener's": {silent: []string{"inet_csk_listen_stop"}},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			f := castingKernel(func(f *preflight.Features) {}).Without(c.without...)
			p := must(MakePlan(f, Fentry))(t)
			var canary Canary
			for _, h := range p.hooks {
				seen := CanaryHook{Name: h.symbol, Role: h.role, Expected: true}
				if !slices.Contains(c.silent, h.symbol) {
					seen.Fired = 1
				}
				canary.Hooks = append(canary.Hooks, seen)
			}
			dead := p.dead(&canary)
			slices.Sort(dead)
			slices.Sort(c.dead)
			if !slices.Equal(dead, c.dead) {
				t.Fatalf("dead %q, want %q", dead, c.dead)
			}
			older := must(MakePlan(f.Without(dead...), Fentry))(t)
			for _, symbol := range dead {
				if older.watches(symbol) {
					t.Errorf("%s is hooked again", symbol)
				}
			}
			for _, symbol := range c.older {
				if !older.watches(symbol) {
					t.Errorf("%s is not hooked", symbol)
				}
			}
			if len(older.Limits) > len(p.Limits) {
				t.Errorf("limits %q, without them %q", older.Limits, p.Limits)
			}
		})
	}
}

// A carrier that the kernel never calls, or that it refuses, gives way to an older
// one, and nothing is lost.
func TestOlderCarriersCountTheSame(t *testing.T) {
	faults := map[string]error{"silent": errNeverCalled, "refused": errors.New("refused")}
	everyMode(t, func(t *testing.T, m Mode) {
		features := preflight.Detect()
		var symbols []string
		for _, h := range must(MakePlan(features, m))(t).hooks {
			if h.replaceable {
				symbols = append(symbols, h.symbol)
			}
		}
		if len(symbols) == 0 && features.AtLeast(6, 11) {
			t.Error("no hook has an older carrier")
		}
		for _, symbol := range symbols {
			for name, fault := range faults {
				t.Run(symbol+" "+name, func(t *testing.T) {
					countsWithOlder(t, m, symbol, fault)
				})
			}
		}
	}, Fentry, Kprobe)
}

func countsWithOlder(t *testing.T, m Mode, symbol string, fault error) {
	const n = 20
	s := listen(t, "127.0.0.1:0", n)
	tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port()), fault: func(h *hook) error {
		if h.symbol == symbol {
			return fault
		}
		return nil
	}})
	if c := tr.Canary(); tr.plan.watches(symbol) || len(c.Silent()) > 0 {
		t.Errorf("hooks %q, silent %+v", tr.plan.Hooks(), c.Silent())
	}
	if !strings.Contains(tr.Why(), symbol) {
		t.Errorf("why: %q", tr.Why())
	}
	for _, l := range tr.Limits() {
		if strings.Contains(l, symbol) {
			t.Errorf("an alarm, though nothing is lost: %s", l)
		}
	}
	for i := range n {
		c := connect(t, s.addr)
		switch i % 4 {
		case 0:
			c.close()
		case 1:
			c.reset()
		}
	}
	readUntil(t, tr, func(events []event.Event) bool {
		return len(only(events, s.addr, event.CloseWait)) == n/4 && len(only(events, s.addr, event.Reset)) == n/4
	})
	for range n {
		s.accept()
	}
	if a := addressOf(t, tr, s.addr); a.CloseWait != n/4 || a.Reset != n/4 {
		t.Errorf("deaths %+v", a)
	}
	if c := sampleOf(t, tr, s.addr); c.Enqueued != n || c.Accepted != n || c.AcceptedCloseWait != n/4 || c.AcceptedReset != n/4 || c.Waits.Count() != n {
		t.Errorf("counted %+v, %d waits", c, c.Waits.Count())
	}
}

// security_sock_graft reports the MPTCP connections that the hook of accepts was
// skipped for, and no other. Before 6.2 its program cannot read them.
func TestSkippedMPTCPAccepts(t *testing.T) {
	const n = 3
	cases := map[string][]string{
		"no hook skipped":     nil,
		"older hook":          {inetAccept},
		"all accepts skipped": {inetAccept, cskAccept},
	}
	everyMode(t, func(t *testing.T, m Mode) {
		for name, skipped := range cases {
			t.Run(name, func(t *testing.T) {
				s := listenMultipath(t)
				tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port()), fault: neverCalled(func(h *hook) bool {
					return slices.Contains(skipped, h.symbol)
				})})
				for range n {
					connectMultipath(t, s.addr)
					s.accept()
				}
				want, repaired := n, slices.Contains(skipped, cskAccept)
				if repaired && !preflight.Detect().Functions[rdonlyCast].InBTF {
					want = 0
				}
				events := readUntil(t, tr, has(want, s.addr, event.Accepted))
				events = only(append(events, readAll(t, tr, 2*sampleEvery)...), s.addr, event.Accepted)
				for _, e := range events {
					// The kernel itself may skip one, seldom.
					if repaired && e.Flags&event.ExitUnseen == 0 {
						t.Errorf("seen by a hook that was left out: %s", describe([]event.Event{e}))
					}
				}
				if len(events) != want {
					t.Errorf("want %d:\n%s", want, describe(events))
				}
			})
		}
	}, Fentry)
}
