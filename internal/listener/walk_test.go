package listener

import (
	"fmt"
	"testing"
	"time"

	"acceptwatch/internal/event"
)

func TestWalkTellsStatesAndAges(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 100_000, "0.0.0.0:8000", 7, 0,
		entry(20_000, 1, event.CloseWaited), entry(95_000, 2, event.Close), entry(99_500, 3, event.Established),
		entry(99_950, 4, event.Established), entry(99_995, 5, event.CloseWaited), entry(99_999, 6, event.FinWait1),
		entry(0, 7, event.SynRecv))
	r := s.row()
	u := r.Unaccepted
	want := Unaccepted{Known: true, Walked: 100_000 * ms, Established: 3, CloseWait: 2, Close: 1, SynRecv: 1,
		Ages: Ages{2, 1, 1, 1, 0, 1}}
	if u != want {
		t.Errorf("%+v, want %+v", u, want)
	}
	if age, known := r.Oldest(); age != 80*time.Second || !known || r.Depth != 7 || r.Backlog != 5 {
		t.Errorf("%+v", r)
	}
}

func TestWalkThatDidNotSeeAllSaysSo(t *testing.T) {
	for name, flags := range map[string]event.Flags{"cut": event.WalkCut, "entries lost": 0} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, Options{Start: 10_000 * ms})
			s.walk(1, 10_001, "0.0.0.0:8000", 100, flags, entry(1000, 1, event.CloseWaited), entry(1001, 2, event.Established))
			s.open(2, "0.0.0.0:9000", 0, 0) // the walk goes on to the next one
			u := s.row("0.0.0.0:8000").Unaccepted
			if u.NotLooked != 98 || u.CloseWait != 1 || u.Established != 1 {
				t.Errorf("%+v", u)
			}
			// What was queued at attach is then known by the books only.
			r := s.row("0.0.0.0:8000")
			if r.AttachKnown || r.Lost != 0 || r.QueuedAtAttach != 2 {
				t.Errorf("%+v", r)
			}
			s.sample(10_200*ms, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 97, Accepted: 4, Enqueued: 1, Backlog: 100}})
			r = s.row("0.0.0.0:8000")
			s.balanced(r)
			if r.QueuedAtAttach != 100 || r.Unaccepted.NotLooked != 96 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestUnacceptedIsNotKnownWithoutAWalk(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.sample(second, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 3, Enqueued: 3, NonEmptySince: 1}})
	s.apply(conn(event.CloseWait, 1100, 900, 7, event.CloseWaited))
	u := s.row().Unaccepted
	if u.Known || u.CloseWait != 1 || u.Established != 0 {
		t.Errorf("%+v", u)
	}
}

func TestAcceptKeepsTheWalkCurrent(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1000, "0.0.0.0:8000", 3, 0, entry(100, 1, event.CloseWaited), entry(200, 2, event.Established), entry(300, 3, event.Established))
	s.accept(1, 1100, 100, 1, event.CloseWaited, 2)
	r := s.row()
	if r.Depth != 2 || r.OldestQueued != 200*ms || r.Unaccepted.CloseWait != 0 || r.Unaccepted.Established != 2 {
		t.Errorf("%+v", r)
	}
	// Two threads accept: what comes later in the ring may be the earlier one.
	s.accept(1, 1201, 300, 3, event.Established, 0)
	s.accept(1, 1200, 200, 2, event.Established, 1)
	if r := s.row(); r.Depth != 0 || r.OldestQueued != 0 || r.Unaccepted.Established != 0 || r.LastAccept != 1201*ms {
		t.Errorf("%+v", r)
	}
}

// The kernel's depth is as of the last event that touched the listener.
func TestUntouchedCountsDoNotOverruleTheWalk(t *testing.T) {
	s := tell(t, Options{Start: 1000 * ms})
	s.walk(1, 1001, "0.0.0.0:8000", 2, 0, entry(100, 1, 1), entry(200, 2, 1))
	c := Counted{ID: 1, Key: key("0.0.0.0:8000")}
	s.sample(1200*ms, []Counted{c})
	if r := s.row(); r.Depth != 2 || r.Backlog != 0 && r.Backlog != 5 {
		t.Errorf("%+v", r)
	}
	c.Enqueued, c.Depth, c.Backlog = 1, 3, 9
	s.sample(1400*ms, []Counted{c})
	r := s.row()
	s.balanced(r)
	if r.Depth != 3 || r.Backlog != 9 || r.QueuedAtAttach != 2 {
		t.Errorf("%+v", r)
	}
}

func TestAWalkUnderWayDoesNotShow(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1000, "0.0.0.0:8000", 1, 0, entry(100, 1, event.Established))
	s.walk(1, 2000, "0.0.0.0:8000", 2, 0, entry(100, 1, event.Established))
	if u := s.row().Unaccepted; u.Walked != 1000*ms || u.NotLooked != 0 {
		t.Errorf("%+v", u)
	}
	e := entry(300, 2, event.Established)
	e.ListenerID, e.Time = 1, 2000*ms
	s.apply(e)
	if u := s.row().Unaccepted; u.Walked != 2000*ms || u.NotLooked != 0 || u.Established != 2 {
		t.Errorf("%+v", u)
	}
}

func TestWalksOfClosedAndUnknownListenersAreIgnored(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.open(1, "0.0.0.0:8000", 0, 0)
	s.apply(event.Event{Kind: event.ListenerClosed, Time: 2 * ms, ListenerID: 1})
	for range 6 {
		s.walk(1, 1, "0.0.0.0:8000", 1, 0, entry(1, 1, event.CloseWaited))
		s.sample(second, nil)
	}
	e := entry(1, 1, event.CloseWaited)
	e.ListenerID = 77
	s.apply(e)
	s.emitted()
	if r := s.row(); r.Open != 0 || r.Closed != 1 || r.Depth != 0 || r.Unaccepted.Dead() != 0 {
		t.Errorf("%+v", r)
	}
}

// Between the start and the first walk some are accepted: the walk does not find them,
// and the books know that they were queued before.
func TestAcceptedBeforeTheFirstWalkWereQueuedAtAttach(t *testing.T) {
	s := tell(t, Options{Start: 10_000 * ms})
	s.walk(1, 10_100, "0.0.0.0:8000", 100, 0, entry(1000, 1, event.Established), entry(10_050, 2, event.Established))
	s.sample(10_110*ms, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 2, Accepted: 5, Enqueued: 1, Backlog: 100}})
	r := s.row()
	s.balanced(r)
	if r.QueuedAtAttach != 6 {
		t.Errorf("%+v", r)
	}
}

// Counts that are read while they change can be off, and two readings in a row are
// hardly so by the same.
func TestQueuedAtAttachIsWhatTwoSamplesInARowTell(t *testing.T) {
	s := tell(t, Options{Start: 10_000 * ms})
	s.walk(1, 10_100, "0.0.0.0:8000", 100, 0, entry(1000, 1, event.Established))
	counts := func(at int64, id uint64, depth uint32, accepted, enqueued uint64, want, lost uint64) {
		t.Helper()
		addr := fmt.Sprintf("0.0.0.0:%d", 7999+id)
		s.sample(at*ms, []Counted{{ID: id, Key: key(addr), Depth: depth, Accepted: accepted, Enqueued: enqueued, Backlog: 100}})
		if r := s.row(addr); r.QueuedAtAttach != want || r.Lost != lost {
			t.Errorf("at %d ms %d queued at attach and %d unexplained, want %d and %d", at, r.QueuedAtAttach, r.Lost, want, lost)
		}
	}
	counts(10_110, 1, 5, 2, 2, 5, 0) // some entered, and are not counted yet
	counts(10_210, 1, 0, 3, 2, 1, 0) // one left, and is not counted yet
	counts(10_310, 1, 1, 5, 4, 2, 0)
	counts(10_410, 1, 2, 6, 6, 2, 0)
	counts(10_510, 1, 3, 6, 8, 2, 1) // an accept that was missed is to show

	// Of a listener that came later, a walk that saw all says that nobody was.
	s.open(2, "0.0.0.0:8001", 0, 10_600)
	counts(10_700, 2, 3, 0, 2, 0, 1)
	counts(10_800, 2, 3, 0, 3, 0, 0)
}

// What is tied to the address only is the listener's where there is one, and its books
// know it.
func TestAcceptsByAddressAreInTheBooks(t *testing.T) {
	s := tell(t, Options{Start: 10_000 * ms})
	s.walk(1, 10_100, "0.0.0.0:8000", 100, 0, entry(1000, 1, event.Established))
	at := AtAddress{Key: key("0.0.0.0:8000"), Accepted: 3}
	s.sample(10_110*ms, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 1, Backlog: 100}}, at)
	r := s.row()
	s.balanced(r)
	if r.QueuedAtAttach != 4 || r.Accepted != 3 {
		t.Errorf("%+v", r)
	}
}

// A listener whose holder is found late is counted from then: what waits by then came
// after the start and is not counted as such.
func TestListenersOfAHolderGoByTheirBooks(t *testing.T) {
	s := tell(t, Options{Start: 10_000 * ms, ByHolder: true})
	s.sample(10_100*ms, nil)
	s.walk(1, 15_000, "0.0.0.0:8000", 100, 0, entry(12_000, 1, event.Established), entry(13_000, 2, event.Established))
	s.sample(15_010*ms, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 3, Enqueued: 1, Backlog: 100}})
	r := s.row()
	s.balanced(r)
	if r.QueuedAtAttach != 2 {
		t.Errorf("%+v", r)
	}
}

// In the middle of a recording it is not known since when was counted, and by the
// entries all were queued before.
func TestInTheMiddleTheBooksTellWhoWasQueuedAtAttach(t *testing.T) {
	s := tell(t, Options{})
	s.walk(1, 10_000, "0.0.0.0:8000", 100, 0, entry(7000, 1, event.Established), entry(8000, 2, event.Established), entry(9000, 3, event.Established))
	s.sample(10_010*ms, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Depth: 3, Enqueued: 100, Accepted: 97, Backlog: 100}})
	r := s.row()
	s.balanced(r)
	if r.QueuedAtAttach != 0 {
		t.Errorf("%+v", r)
	}
}
