package probe

import (
	"errors"
	"testing"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/preflight"
)

// openQueues opens a walk, which needs privileges and no mode.
func openQueues(t *testing.T, f filter.Filter, entries int) *Queues {
	t.Helper()
	if found := preflight.DetectWalk(); !found.Caps.Tracing() || !found.OuterUser {
		if inMatrix() {
			t.Fatalf("a walk must work, and there are no privileges: %+v", found.Caps)
		}
		t.Skip("needs root, or CAP_BPF and CAP_PERFMON")
	}
	q := must(OpenQueues(f, entries, 1))(t)
	t.Cleanup(func() { check(t, q.Close()) })
	return q
}

// look gives what is in one queue, and its listener first.
func (s *server) look(t *testing.T, q *Queues) ([]event.Event, []listener.Loss) {
	t.Helper()
	var all []event.Event
	losses := must(q.Look(func(e *event.Event) { all = append(all, *e) }))(t)
	return only(all, s.addr, event.Listener, event.Queued), losses
}

func TestQueuesAreWalkedInOrder(t *testing.T) {
	s := listen(t, "127.0.0.1:0", 8)
	other := listen(t, "127.0.0.1:0", 8)
	connect(t, other.addr)
	q := openQueues(t, onPort(s.addr.Port()), 8)
	first, second, third := connect(t, s.addr), connect(t, s.addr), connect(t, s.addr)
	second.close()
	third.reset()
	for round := range 2 { // a look changes nothing
		got, _ := s.look(t, q)
		if len(got) != 4 || got[0].Kind != event.Listener || got[0].Depth != 3 || got[0].Backlog != 8 || got[0].Inode == 0 {
			t.Fatalf("round %d: %s", round, describe(got))
		}
		for i, want := range []struct {
			c     *client
			state event.State
		}{{first, event.Established}, {second, event.CloseWaited}, {third, event.Close}} {
			e := got[i+1]
			if e.Peer != want.c.local || e.State != want.state || e.Queued == 0 || int(e.DepthAtEntry) != i || e.ListenerID != got[0].ListenerID {
				t.Errorf("round %d: entry %d is %s", round, i, describe(got[i+1:i+2]))
			}
		}
		if len(only(got, other.addr, event.Listener, event.Queued)) > 0 {
			t.Errorf("another port: %s", describe(got))
		}
	}
	s.accept()
	if got, _ := s.look(t, q); len(got) != 3 || got[1].Peer != second.local {
		t.Errorf("after an accept: %s", describe(got))
	}
}

// What finds no room is counted, and the rest is there.
func TestQueuesWithoutRoomAreTold(t *testing.T) {
	const size = 505 // what 5.10 looks at is 512
	s := listen(t, "127.0.0.1:0", size)
	for range size {
		connect(t, s.addr).close()
	}
	q := openQueues(t, onPort(s.addr.Port()), 1)
	got, losses := s.look(t, q)
	lost := uint64(0)
	for _, l := range losses {
		if l.What == "walk_entries" {
			lost = l.Count
		}
	}
	if lost == 0 || uint64(len(got)-1)+lost != size {
		t.Errorf("%d entries and %d lost of %d", len(got)-1, lost, size)
	}
}

func TestTooLongQueuesAreRefused(t *testing.T) {
	_, err := OpenQueues(filter.Filter{}, MostWalked+1, 1)
	var refused *NoWalkError
	if !errors.As(err, &refused) || !errors.Is(err, ErrUnsupported) || !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}

// Of a network namespace that is not chosen, nothing is looked at or missing.
func TestOneNetworkNamespaceIsWalked(t *testing.T) {
	s := listen(t, "127.0.0.1:0", 8)
	connect(t, s.addr)
	f := onPort(s.addr.Port())
	for _, own := range []bool{true, false} {
		f.NetNS = must(netns.Current())(t).Inode
		if !own {
			f.NetNS++
		}
		q := openQueues(t, f, 8)
		got, _ := s.look(t, q)
		if own != (len(got) == 2) || own != q.t.walk.seen[must(netns.Current())(t).Inode] || len(q.t.walk.seen) > 1 {
			t.Errorf("own %v: %s, walked %v", own, describe(got), q.t.walk.seen)
		}
	}
}
