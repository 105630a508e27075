package cli

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/sockdiag"
)

// listingsThat change, from the second on.
func listingsThat(change func(nth int, q sockdiag.Query, fn func(*hostSocket)) error) func(*app) {
	return func(a *app) {
		list, nth := a.env.sockets, 0
		a.env.sockets = func(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error {
			if nth++; nth > 1 {
				if err := change(nth, q, fn); err != nil {
					return err
				}
			}
			return list(ctx, q, f, fn)
		}
	}
}

// A namespace that could be listed once, and not again, has no numbers.
func TestWhatCouldNotBeListedIsNotReset(t *testing.T) {
	for _, mode := range []string{modeWalk, modeDiag} {
		failing := listingsThat(func(int, sockdiag.Query, func(*hostSocket)) error {
			unseen := &unseenError{unlisted: []uint32{testNetNS}}
			unseen.add(errors.New("list sockets: no memory"))
			return unseen
		})
		out, logs, code := runSnapshot(t, stuckKernel(), failing, "--mode", mode, "-o", "json", "--fail-on", "reset>1 | held_close_wait")
		if code != exitDone || !strings.Contains(logs, "no memory") || strings.Contains(out, "held_close_wait") ||
			mode == modeDiag && (!strings.Contains(out, `"not_looked_at":3`) || strings.Contains(out, "close_derived")) {
			t.Errorf("mode %s: exit code %d, %s%s", mode, code, out, logs)
		}
	}
}

func TestCtrlCEndsALookWithoutNumbers(t *testing.T) {
	for nth := 2; nth <= 5; nth++ {
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		a := fakeApp(stuckKernel(), &out)
		listingsThat(func(n int, _ sockdiag.Query, _ func(*hostSocket)) error {
			if n == nth {
				cancel()
			}
			return ctx.Err()
		})(a)
		if code := a.run(ctx, []string{"snapshot", "--mode", "diag", "--fail-on", "reset"}); code != exitDone || out.Len() > 0 {
			t.Errorf("in listing %d: exit code %d, %s", nth, code, out.String())
		}
		cancel()
	}
}

// A health check of a server that is only busy does not fail.
func TestQueueThatMovesIsNotTakenForReset(t *testing.T) {
	k := stuckKernel()
	moves := listingsThat(func(nth int, _ sockdiag.Query, _ func(*hostSocket)) error {
		if nth == 4 { // the second listing of the contents
			e := k.queue[0]
			k.queue = append(k.queue[1:], e)
			k.queue[len(k.queue)-1].Peer = netip.MustParseAddrPort("127.0.0.1:50000")
		}
		return nil
	})
	out, logs, code := runSnapshot(t, k, moves, "--mode", "diag", "--fail-on", "reset")
	if code != exitDone || !strings.Contains(out, "1 not listed       reset, or came and went meanwhile") {
		t.Errorf("exit code %d: %s%s", code, out, logs)
	}
}

// What is steered to a listener came to another port, at which nothing listens.
func TestSteeredConnectionsAreNotTakenForReset(t *testing.T) {
	steered := listingsThat(func(nth int, q sockdiag.Query, fn func(*hostSocket)) error {
		if nth == 4 {
			if len(q.Ports) > 0 {
				t.Errorf("ports %v are asked for", q.Ports)
			}
			s := hostSocket{Socket: sockdiag.Socket{Family: 2, State: sockdiag.Established,
				Local: netip.MustParseAddrPort("192.0.2.1:443"), Remote: netip.MustParseAddrPort("192.0.2.2:50000")}, NetNS: testNetNS}
			fn(&s)
		}
		return nil
	})
	out, logs, code := runSnapshot(t, stuckKernel(), steered, "--mode", "diag", "--port", "8000", "--fail-on", "reset")
	if code != exitDone || !strings.Contains(out, "1 not listed       reset, or steered here") {
		t.Errorf("exit code %d: %s%s", code, out, logs)
	}
}

func TestWantedAddresses(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:443")
	for _, test := range []struct {
		f         filter.Filter
		all, want bool
	}{
		{filter.Filter{}, true, true},
		{filter.Filter{Ports: []filter.PortRange{{First: 80, Last: 80}}, NetNS: 7}, true, true},
		{filter.Filter{Family: filter.IPv6}, false, false},
		{filter.Filter{Family: filter.IPv4, Ports: []filter.PortRange{{First: 80, Last: 80}}}, false, true},
		{filter.Filter{Addr: netip.MustParsePrefix("127.0.0.2/32")}, false, false},
	} {
		wanted := (&snapshotOptions{filter: test.f}).wanted()
		if (wanted == nil) != test.all || wanted != nil && wanted(testNetNS, at) != test.want {
			t.Errorf("%s: all %v", &test.f, wanted == nil)
		}
	}
}

func TestContentQueries(t *testing.T) {
	socket := func(port uint16, depth uint32) hostSocket {
		s := hostSocket{}
		s.State, s.RQueue = sockdiag.Listen, depth
		s.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
		return s
	}
	var many []hostSocket
	for port := range uint16(mostPorts + 1) {
		many = append(many, socket(port+1, 1))
	}
	var idle []hostSocket
	for port := range uint16(mostPorts + 1) {
		idle = append(idle, socket(port+100, 0))
	}
	closeWait := sockdiag.States(sockdiag.CloseWait)
	all := closeWait | sockdiag.States(sockdiag.Established, sockdiag.SynRecv)
	for _, test := range []struct {
		name      string
		listeners []hostSocket
		states    []sockdiag.StateMask
		ports     []int
	}{
		{"nothing queued", []hostSocket{socket(80, 0), socket(443, 0)}, []sockdiag.StateMask{closeWait}, []int{2}},
		{"some queued", []hostSocket{socket(80, 3), socket(443, 0), socket(80, 0), socket(22, 0)}, []sockdiag.StateMask{all, closeWait}, []int{1, 2}},
		{"all queued", []hostSocket{socket(80, 3)}, []sockdiag.StateMask{all}, []int{1}},
		{"too many idle ports", append(idle, socket(80, 3)), []sockdiag.StateMask{all &^ closeWait, closeWait}, []int{1, 0}},
		{"too many ports", many, []sockdiag.StateMask{all}, []int{0}},
	} {
		got := contentQueries(test.listeners)
		if len(got) != len(test.states) {
			t.Errorf("%s: %+v", test.name, got)
			continue
		}
		for i, q := range got {
			if q.States != test.states[i] || len(q.Ports) != test.ports[i] || q.Ext != sockdiag.ExtInfo {
				t.Errorf("%s: query %d is %+v", test.name, i, q)
			}
		}
	}
}
