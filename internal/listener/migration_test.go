package listener

import (
	"testing"
	"time"

	"acceptwatch/internal/event"
)

// A listener of a group closes and hands its queue to another one.
func TestMigratedConnectionsBalance(t *testing.T) {
	const start = 60_000
	addr := "0.0.0.0:8000"
	old := []event.Event{entry(1000, 1, event.Established), entry(1001, 2, event.CloseWaited)}
	for _, tc := range []struct {
		name string
		// heir tells of listener 2 before listener 1 closes; walkedNew says
		// that a walk is the first that tells of it after.
		heir      func(s *story, c *Counted)
		walkedNew bool
		attach    uint64
	}{
		{"to one that was there at attach", func(s *story, c *Counted) {
			s.walk(2, start+1, addr, 1, 0, entry(2000, 9, event.Established))
			c.Depth = 1
		}, false, 3},
		{"to one that listens since, sampled first", func(s *story, c *Counted) {
			s.sample((start+50)*ms, []Counted{*c})
		}, true, 2},
		{"to one that listens since, walked first", func(*story, *Counted) {}, true, 2},
		{"to one that only counts tell of", func(*story, *Counted) {}, false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tell(t, Options{Start: start * ms, StallAfter: time.Hour})
			s.walk(1, start+1, addr, 2, 0, old...)
			one := Counted{ID: 1, Key: key(addr), Family: 2, Backlog: 5, Depth: 2}
			two := Counted{ID: 2, Key: key(addr), Family: 2, Backlog: 5}
			tc.heir(s, &two)
			s.sample((start+100)*ms, []Counted{one})
			one.MigratedOut, one.Depth, one.Closed = 2, 0, true
			two.MigratedIn, two.Depth, two.MaxDepth = 2, two.Depth+2, two.Depth+2
			if two.Depth == 2 {
				two.NonEmptySince = (start + 600) * ms
			}
			s.apply(event.Event{Kind: event.ListenerClosed, Time: (start + 600) * ms, ListenerID: 1})
			s.lines = nil
			if tc.walkedNew {
				s.walk(2, start+700, addr, 2, 0, old...)
			}
			s.sample((start+800)*ms, []Counted{one, two})
			r := s.row()
			s.balanced(r)
			if r.QueuedAtAttach != tc.attach || r.MigratedIn != 2 || r.MigratedOut != 2 || r.Purged != 0 ||
				r.Open != 1 || r.Closed != 1 || r.MaxDepth != two.Depth || r.MaxDepthBacklog != 5 {
				t.Errorf("%+v", r)
			}

			// Their waits go on, and accept tells of them as of any other.
			if two.Depth == 2 {
				s.walk(2, start+900, addr, 2, 0, old...)
				r := s.row()
				if age, known := r.Oldest(); age != (start+900-1000)*time.Millisecond || !known {
					t.Errorf("oldest %v, %v", age, known)
				}
				if u := r.Unaccepted; u.CloseWait != 1 || u.Established != 1 {
					t.Errorf("%+v", u)
				}
			}
			two.Accepted, two.AcceptedCloseWait = uint64(two.Depth), 1
			two.Depth, two.LastAccept = 0, (start+950)*ms
			s.accept(2, start+950, 1000, 1, event.Established, 1)
			s.accept(2, start+950, 1001, 2, event.CloseWaited, 0)
			s.sample((start+1000)*ms, []Counted{two})
			s.sample((start+1200)*ms, []Counted{two})
			s.balanced(s.row())
			s.emitted() // it was dead at attach, and nothing stalled
			if n := s.table.dead.len(); n != 0 {
				t.Errorf("%d still taken for dead in the queue", n)
			}
		})
	}
}

// What migrated has waited elsewhere: its new listener is not late yet.
func TestMigratedConnectionsDoNotStallTheirNewListener(t *testing.T) {
	for name, wasEmpty := range map[string]bool{"empty before": true, "new": false} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, Options{Start: 2000 * ms})
			c := Counted{ID: 2, Key: key("0.0.0.0:8000"), Family: 2, Backlog: 5}
			if wasEmpty {
				s.walk(2, 40_000, "0.0.0.0:8000", 0, 0)
			}
			s.walk(2, 60_000, "0.0.0.0:8000", 1, 0, entry(1000, 1, event.Established))
			c.MigratedIn, c.Depth = 1, 1
			s.sample(60_300*ms, []Counted{c})
			s.emitted()
			s.sample(61_000*ms, []Counted{c})
			s.emitted("61000 ms stall 0.0.0.0:8000 depth 1/5 1s")
		})
	}
}

// Those that migrated are behind others that were queued later.
func TestQueueOrderIsNotThatOfQueueTimes(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1000, "0.0.0.0:8000", 4, 0,
		entry(500, 1, event.Established), entry(600, 2, event.Established), entry(100, 3, event.Established), entry(200, 4, event.Established))
	for i, want := range []int64{500, 600, 100, 200, 0} {
		if got := s.row().OldestQueued; got != want*ms {
			t.Errorf("after %d accepts: the head was queued at %d ms, want %d", i, got/ms, want)
		}
		if want != 0 {
			s.accept(1, 1100+int64(i), want, uint16(1+i), event.Established, uint32(3-i))
		}
	}
}

func TestHighWaterMarkAndTimeFull(t *testing.T) {
	s := tell(t, Options{Start: 1})
	one := Counted{ID: 1, Key: key("0.0.0.0:8000"), Backlog: 5, MaxDepth: 6, Full: time.Second, OverflowSYN: 3}
	two := Counted{ID: 2, Key: key("0.0.0.0:8000"), Backlog: 9, MaxDepth: 4, Full: 2 * time.Second, OverflowACK: 2}
	s.sample(second, []Counted{one, two})
	r := s.row()
	if r.MaxDepth != 6 || r.MaxDepthBacklog != 5 || r.Full != 3*time.Second || r.Overflow() != 5 || r.OverflowSYN != 3 || r.LastOverflow != second {
		t.Errorf("%+v", r)
	}
	// A walk may know of more than the counts, which began with attach.
	s.walk(2, 2000, "0.0.0.0:8000", 8, 0)
	s.apply(event.Event{Kind: event.Overflow, Time: 3000 * ms, ListenerID: 1, Depth: 7, Backlog: 6})
	one.Closed, two.Closed = true, true
	for range 3 {
		s.sample(4*second, []Counted{one, two})
	}
	r = s.row()
	if r.Open != 0 || r.MaxDepth != 8 || r.MaxDepthBacklog != 5 || r.Full != 3*time.Second || r.Overflow() != 5 || r.LastOverflow != 3*second {
		t.Errorf("%+v", r)
	}
}

func TestAClosedListenerIsStillKnownByItsInode(t *testing.T) {
	s := tell(t, Options{Start: 1})
	c := Counted{ID: 1, Key: key("0.0.0.0:8000"), Inode: 4242}
	s.sample(second, []Counted{c})
	c.Closed = true
	for range 3 {
		s.sample(2*second, []Counted{c})
		if r := s.row(); r.Open != 0 || r.Inode != 4242 {
			t.Errorf("%+v", r)
		}
	}
}

func TestPlaceTellsTheDepthOfOneListenerOnly(t *testing.T) {
	s := tell(t, Options{Start: 1})
	e := conn(event.CloseWait, 2000, 100, 1, event.CloseWaited)
	s.walk(1, 1, "0.0.0.0:8000", 3, 0)
	if p, ok := s.table.Resolve(&e); !ok || p.ID != 1 || p.Depth != 3 || p.Backlog != 5 {
		t.Errorf("%+v, %v", p, ok)
	}
	s.walk(2, 2, "0.0.0.0:8000", 3, 0)
	if p, ok := s.table.Resolve(&e); !ok || p.ID != 0 || p.Depth != 0 || p.Backlog != 0 {
		t.Errorf("%+v, %v", p, ok)
	}
}

func TestQueuedAtAttachByBooksKnowsOfMigration(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.sample(second, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 1, Accepted: 1, MigratedOut: 2, MigratedIn: 1, Enqueued: 1}})
	r := s.row()
	s.balanced(r)
	if r.QueuedAtAttach != 2 {
		t.Errorf("%+v", r)
	}
}
