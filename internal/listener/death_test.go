package listener

import (
	"testing"

	"acceptwatch/internal/event"
)

// Each tells of one connection from peer 7, queued at 100 ms, whose listener
// was walked when it was empty, at 10 ms.
func TestMissedDeathsAreRecovered(t *testing.T) {
	const fin, rst, est = event.CloseWaited, event.Close, event.Established
	type step func(s *story)
	accept := func(at int64, state event.State) step {
		return func(s *story) { s.accept(1, at, 100, 7, state, 0) }
	}
	death := func(kind event.Kind, at int64, news bool, flags event.Flags) step {
		return func(s *story) {
			e := conn(kind, at, 100, 7, fin)
			if e.Flags = flags; kind == event.Reset {
				e.State = rst
			}
			if got := s.apply(e); got != news {
				s.t.Errorf("%s at %d: news %v", kind, at, got)
			}
		}
	}
	walk := func(at int64, state event.State) step {
		return func(s *story) { s.walk(1, at, "0.0.0.0:8000", 1, 0, entry(100, 7, state)) }
	}
	const news, again = true, false
	for _, tc := range []struct {
		name  string
		steps []step
		want  []string
	}{
		{"alive", []step{accept(200, est)}, nil},
		{"FIN seen", []step{death(event.CloseWait, 150, news, 0), accept(200, fin)}, nil},
		{"RST seen", []step{death(event.Reset, 150, news, 0), accept(200, rst)}, nil},
		{"RST seen, after which MPTCP forgets the peer", []step{death(event.Reset, 150, news, 0),
			func(s *story) { s.walk(1, 170, "0.0.0.0:8000", 1, 0, entry(100, 0, rst)) },
			func(s *story) { s.accept(1, 200, 100, 0, rst, 0) }}, nil},
		{"FIN and RST seen", []step{death(event.CloseWait, 150, news, 0), death(event.Reset, 160, news, event.AfterFIN), accept(200, rst)}, nil},
		{"FIN missed, accept shows it", []step{accept(200, fin)}, []string{"200 ms close_wait 7 recovered"}},
		{"RST missed, accept shows it", []step{accept(200, rst)}, []string{"200 ms reset 7 recovered"}},
		{"RST after FIN missed", []step{death(event.CloseWait, 150, news, 0), accept(200, rst)}, []string{"200 ms reset 7 recovered after FIN"}},
		{"FIN before RST missed", []step{death(event.Reset, 150, news, event.AfterFIN), accept(200, rst)}, []string{"150 ms close_wait 7 recovered"}},
		{"FIN missed, walk shows it", []step{walk(170, fin), accept(200, fin)}, []string{"170 ms close_wait 7 recovered"}},
		{"RST missed, walk shows it", []step{walk(170, rst), walk(180, rst), accept(200, rst)}, []string{"170 ms reset 7 recovered"}},
		{"RST missed, walk knew the FIN", []step{death(event.CloseWait, 150, news, 0), walk(170, rst), accept(200, rst)}, []string{"170 ms reset 7 recovered after FIN"}},
		{"FIN comes after accept in the ring", []step{accept(200, fin), death(event.CloseWait, 150, again, 0)}, []string{"200 ms close_wait 7 recovered"}},
		{"FIN comes after the walk in the ring", []step{walk(170, fin), death(event.CloseWait, 150, again, 0), accept(200, fin)}, []string{"170 ms close_wait 7 recovered"}},
		{"walk comes after accept in the ring", []step{accept(200, fin), walk(170, fin)}, []string{"200 ms close_wait 7 recovered"}},
		{"known FIN, walk comes after accept", []step{death(event.CloseWait, 150, news, 0), accept(200, fin), walk(170, fin)}, nil},
		{"accept comes after a later walk", []step{death(event.CloseWait, 150, news, 0),
			func(s *story) { s.walk(1, 210, "0.0.0.0:8000", 0, 0) }, accept(200, fin)}, nil},
		{"accept entered before attach says nothing of it", []step{func(s *story) {
			e := conn(event.Accepted, 200, 100, 7, fin)
			e.Flags = event.ExitUnseen
			s.apply(e)
		}}, nil},
		{"a sampled accept follows the walk that misses it", []step{walk(150, est), walk(160, fin),
			func(s *story) { s.walk(1, 180, "0.0.0.0:8000", 0, 0) },
			func(s *story) {
				e := conn(event.Accepted, 180, 100, 7, fin)
				e.ListenerID, e.Flags = 1, event.Sampled
				s.apply(e)
			}}, []string{"160 ms close_wait 7 recovered"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tell(t, Options{Start: 1})
			s.walk(1, 10, "0.0.0.0:8000", 0, 0)
			for _, step := range tc.steps {
				step(s)
			}
			s.emitted(tc.want...)
			s.walk(1, 1000, "0.0.0.0:8000", 0, 0)
			s.walk(1, 1001, "0.0.0.0:8000", 0, 0)
			if n := s.table.dead.len(); n != 0 {
				t.Errorf("%d still taken for dead in the queue", n)
			}
		})
	}
}

func TestRecoveredIsOfTheConnectionNotOfTheAcceptor(t *testing.T) {
	table := New(Options{Start: 1})
	e := conn(event.Accepted, 200, 100, 7, event.CloseWaited)
	e.PID, e.TID, e.Comm, e.Cookie, e.Unread, e.Depth, e.ListenerID = 1, 2, event.Comm{'x'}, 5, 6, 3, 9
	table.Apply(&e, func(d *event.Event) {
		want := e
		want.Kind, want.Flags, want.Depth = event.CloseWait, event.Recovered, 4
		want.PID, want.TID, want.Comm = 0, 0, event.Comm{}
		if *d != want {
			t.Errorf("%+v", *d)
		}
	})
}

// Before the first look at its queue, a dead connection may have been dead
// when the tracer came.
func TestDeadBeforeAttachIsNotRecovered(t *testing.T) {
	for _, tc := range []struct {
		name string
		tell func(s *story)
		want []string
	}{
		{"never walked", func(s *story) {}, nil},
		{"walk cut", func(s *story) {
			s.walk(1, 60_000, "0.0.0.0:8000", 5, event.WalkCut, entry(50, 1, event.Established))
		}, nil},
		{"entries of the walk lost", func(s *story) {
			s.walk(1, 60_000, "0.0.0.0:8000", 2, 0, entry(50, 1, event.Established))
			s.walk(1, 60_000, "0.0.0.0:8000", 0, 0)
		}, nil},
		{"walked whole, and it lived", func(s *story) {
			s.walk(1, 60_000, "0.0.0.0:8000", 1, 0, entry(100, 7, event.Established))
		}, []string{"70000 ms close_wait 7 recovered"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tell(t, Options{Start: 60_000 * ms})
			tc.tell(s)
			s.accept(1, 70_000, 100, 7, event.CloseWaited, 0)
			s.emitted(tc.want...)
		})
	}
}

func TestSamePeerPortTwiceInAQueue(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1, "0.0.0.0:8000", 0, 0)
	s.apply(conn(event.Reset, 150, 100, 7, event.Close)) // an RST frees the 4-tuple
	s.accept(1, 300, 200, 7, event.CloseWaited, 1)       // the second one, whose FIN was missed
	s.emitted("300 ms close_wait 7 recovered")
	if u := s.row().Unaccepted; u.Dead() != 1 {
		t.Errorf("%+v", u)
	}
}

func TestDeadThatAWalkDoesNotListHasLeft(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1, "0.0.0.0:8000", 0, 0)
	s.apply(conn(event.CloseWait, 150, 100, 7, event.CloseWaited))
	s.apply(conn(event.CloseWait, 150, 100, 8, event.CloseWaited))
	s.walk(1, 200, "0.0.0.0:8000", 3, event.WalkCut, entry(90, 1, event.Established)) // did not look at all
	if n := s.table.dead.len(); n != 2 {
		t.Errorf("%d dead after a walk that was cut", n)
	}
	s.walk(1, 300, "0.0.0.0:8000", 1, 0, entry(100, 8, event.CloseWaited))
	if u := s.row().Unaccepted; u.CloseWait != 1 {
		t.Errorf("%+v", u)
	}
	s.walk(1, 400, "0.0.0.0:8000", 1, 0, entry(100, 8, event.CloseWaited))
	if u := s.row().Unaccepted; u.CloseWait != 1 || s.table.dead.len() != 1 {
		t.Errorf("%+v, %d dead", u, s.table.dead.len())
	}
	s.emitted()
}

func TestDeadInAGroupStayUntilAllQueuesWereLookedAt(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1, "0.0.0.0:8000", 0, 0)
	s.walk(2, 1, "0.0.0.0:8000", 0, 0)
	s.apply(conn(event.CloseWait, 150, 100, 7, event.CloseWaited))
	s.walk(1, 200, "0.0.0.0:8000", 0, 0)
	if n := s.table.dead.len(); n != 1 {
		t.Fatalf("%d dead", n)
	}
	s.walk(2, 201, "0.0.0.0:8000", 0, 0)
	s.walk(1, 300, "0.0.0.0:8000", 0, 0)
	if n := s.table.dead.len(); n != 0 {
		t.Errorf("%d dead", n)
	}
}

func TestMPTCPDeathSurvivesAWalkThatSeesTheSubflow(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1, "0.0.0.0:8000", 0, 0)
	s.apply(conn(event.CloseWait, 150, 100, 7, event.CloseWaited))
	s.walk(1, 200, "0.0.0.0:8000", 1, 0, entry(100, 7, event.Established))
	if u := s.row().Unaccepted; u.CloseWait != 1 || u.Established != 0 {
		t.Errorf("%+v", u)
	}
	s.accept(1, 300, 100, 7, event.Established, 0)
	if n := s.table.dead.len(); n != 0 {
		t.Errorf("%d dead", n)
	}
	s.emitted()
}

func TestTooManyDeadAreALoss(t *testing.T) {
	s := tell(t, Options{Start: 1, MaxDead: 10})
	s.walk(1, 1, "0.0.0.0:8000", 0, 0)
	for i := range int64(25) {
		s.apply(conn(event.CloseWait, 150, 100+i, 7, event.CloseWaited))
	}
	l := s.table.Losses()
	if s.table.dead.len() != 10 || len(l) != 1 || l[0].What != "dead_not_tracked" || l[0].Count != 15 {
		t.Errorf("%d, %+v", s.table.dead.len(), l)
	}
	// Walks find them again, and count none twice.
	var queue []event.Event
	for i := range int64(25) {
		queue = append(queue, entry(100+i, 7, event.CloseWaited))
	}
	for at := range int64(3) {
		s.walk(1, 200+at, "0.0.0.0:8000", 25, 0, queue...)
	}
	s.sample(second, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Family: 2, Depth: 25}},
		AtAddress{Key: key("127.0.0.1:8000"), CloseWait: 25})
	if r := s.row("0.0.0.0:8000"); r.CloseWait != 25 {
		t.Errorf("%d counted, want 25", r.CloseWait)
	}
}
