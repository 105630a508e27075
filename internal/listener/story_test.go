package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"acceptwatch/internal/event"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
	netns  = 0xf0000001
)

// story feeds a Table and writes down what it emits, one line an event.
type story struct {
	t     *testing.T
	table *Table
	lines []string
}

func tell(t *testing.T, opt Options) *story { return &story{t: t, table: New(opt)} }

func line(e *event.Event) string {
	s := fmt.Sprintf("%d ms %s", e.Time/ms, e.Kind)
	if e.Peer.IsValid() {
		s += fmt.Sprintf(" %d", e.Peer.Port())
	}
	if e.Flags&event.Recovered != 0 {
		s += " recovered"
	}
	if e.Flags&event.AfterFIN != 0 {
		s += " after FIN"
	}
	if e.Kind == event.Stall || e.Kind == event.StallEnd {
		wait, _ := e.Wait()
		s += fmt.Sprintf(" %s depth %d/%d %v", e.Local, e.Depth, e.Backlog, wait)
	}
	if e.Ended != event.NotEnded {
		s += " by " + e.Ended.String()
	}
	return s
}

func (s *story) note(e *event.Event) { s.lines = append(s.lines, line(e)) }

func (s *story) apply(e event.Event) bool { return s.table.Apply(&e, s.note) }

func (s *story) sample(at int64, counted []Counted, addrs ...AtAddress) {
	s.table.Update(&Sample{Time: at, Listeners: counted, Addresses: addrs}, s.note)
}

// emitted compares what was emitted since the last call.
func (s *story) emitted(want ...string) {
	s.t.Helper()
	if !slices.Equal(s.lines, want) {
		s.t.Errorf("emitted\n\t%q\nwant\n\t%q", s.lines, want)
	}
	s.lines = nil
}

// row is the only row, or that of an address.
func (s *story) row(addr ...string) Row {
	s.t.Helper()
	rows := s.table.Rows()
	for _, r := range rows {
		if len(addr) == 0 && len(rows) == 1 || len(addr) > 0 && !r.Other && r.Key.Addr.String() == addr[0] {
			return r
		}
	}
	s.t.Fatalf("no row %v among %d", addr, len(rows))
	return Row{}
}

func (s *story) balanced(r Row) {
	s.t.Helper()
	if off, known := r.Imbalance(); off != 0 || !known || r.Lost != 0 {
		s.t.Errorf("books are off by %d (known: %v, lost %d): %+v", off, known, r.Lost, r)
	}
}

func key(addr string) Key { return Key{NetNS: netns, Addr: netip.MustParseAddrPort(addr)} }

// conn is an event of the connection from peer port, queued at a time in ms.
func conn(kind event.Kind, at, queued int64, peer uint16, state event.State) event.Event {
	return event.Event{
		Kind: kind, Time: at * ms, Queued: queued * ms, NetNS: netns, Family: 2, State: state,
		Local: netip.MustParseAddrPort("127.0.0.1:8000"),
		Peer:  netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), peer),
	}
}

func (s *story) accept(id uint64, at, queued int64, peer uint16, state event.State, depth uint32) {
	e := conn(event.Accepted, at, queued, peer, state)
	e.ListenerID, e.Depth, e.Backlog, e.PID = id, depth, 5, 77
	s.apply(e)
}

func (s *story) walk(id uint64, at int64, addr string, depth uint32, flags event.Flags, queue ...event.Event) {
	s.apply(event.Event{Kind: event.Listener, Time: at * ms, ListenerID: id, NetNS: netns, Family: 2,
		Local: netip.MustParseAddrPort(addr), Depth: depth, Backlog: 5, Inode: 4242, State: event.Listening, Flags: flags})
	for _, e := range queue {
		e.ListenerID, e.Depth, e.Time = id, depth, at*ms
		s.apply(e)
	}
}

func entry(queued int64, peer uint16, state event.State) event.Event {
	return conn(event.Queued, 0, queued, peer, state)
}

// The incident of the design: a server that stopped calling accept(). Three
// clients give up, one is cut off, and then it accepts again.
func TestIncident(t *testing.T) {
	s := tell(t, Options{Start: 1})
	counted := Counted{ID: 1, Key: key("0.0.0.0:8000"), Family: 2, Backlog: 5}
	at := AtAddress{Key: key("127.0.0.1:8000")}

	s.walk(1, 10, "0.0.0.0:8000", 0, 0)
	counted.Enqueued, counted.Depth, counted.NonEmptySince = 5, 5, 100*ms
	s.sample(200*ms, []Counted{counted})
	s.emitted()
	r := s.row()
	if r.Depth != 5 || r.Backlog != 5 || r.Inode != 4242 || r.ID != 1 || r.Open != 1 {
		t.Errorf("%+v", r)
	}
	if age, known := r.Oldest(); age != 100*time.Millisecond || !known {
		t.Errorf("oldest %v, %v", age, known)
	}

	for i := range int64(3) {
		s.apply(conn(event.CloseWait, 300+i, 100+i, uint16(1+i), event.CloseWaited))
	}
	s.apply(conn(event.Reset, 400, 103, 4, event.Close))
	at.CloseWait, at.Reset = 3, 1
	s.sample(1000*ms, []Counted{counted}, at)
	s.emitted()
	s.sample(1200*ms, []Counted{counted}, at)
	s.emitted("1200 ms stall 0.0.0.0:8000 depth 5/5 1.1s")
	s.sample(1400*ms, []Counted{counted}, at)
	s.emitted()
	s.walk(1, 2000, "0.0.0.0:8000", 5, 0, entry(100, 1, 8), entry(101, 2, 8), entry(102, 3, 8), entry(103, 4, 7), entry(104, 5, 1))
	s.emitted()
	r = s.row()
	u := r.Unaccepted
	if u.CloseWait != 3 || u.Close != 1 || u.Established != 1 || u.NotLooked != 0 || u.Dead() != 4 || u.Ages != (Ages{0, 0, 0, 5}) {
		t.Errorf("%+v", u)
	}
	if r.Dead() != 4 || r.StalledSince != 100*ms || r.Stalled != 1900*time.Millisecond {
		t.Errorf("%+v", r)
	}

	for i, state := range []event.State{8, 8, 8, 7, 1} {
		s.accept(1, 3000+int64(i), 100+int64(i), uint16(1+i), state, uint32(4-i))
		if i == 0 {
			s.emitted("3000 ms stall_end 0.0.0.0:8000 depth 4/5 2.9s by accept")
			r := s.row()
			if age, _ := r.Oldest(); age != 2899*time.Millisecond {
				t.Errorf("oldest %v", age)
			}
		}
	}
	counted.Accepted, counted.AcceptedCloseWait, counted.AcceptedReset = 5, 3, 1
	counted.Depth, counted.LastAccept, counted.MaxWait = 0, 3004*ms, 2900*ms
	counted.Waits = &Histogram{}
	for range 5 {
		counted.Waits.Add(2900 * time.Millisecond)
	}
	s.sample(3200*ms, []Counted{counted}, at)
	s.sample(9000*ms, []Counted{counted}, at)
	s.emitted()
	r = s.row()
	s.balanced(r)
	if r.Accepted != 5 || r.AcceptedDead != 4 || r.Dead() != 4 || r.CloseWait != 3 || r.Reset != 1 ||
		r.Depth != 0 || r.OldestQueued != 0 || r.Unaccepted.Dead() != 0 || r.Stalls != 1 ||
		r.Stalled != 2900*time.Millisecond || r.StalledSince != 0 || r.LastAccept != 3004*ms ||
		r.Wait.P50 != 2900*time.Millisecond || r.Wait.Max != 2900*time.Millisecond || r.Wait.Count != 5 {
		t.Errorf("%+v", r)
	}
	if l := s.table.Losses(); len(l) != 0 {
		t.Error(l)
	}
}

// Attached in the middle of it: what was dead then is not an event.
func TestIncidentAtAttach(t *testing.T) {
	s := tell(t, Options{Start: 60_000 * ms})
	queue := []event.Event{entry(1000, 1, 8), entry(1001, 2, 7), entry(1002, 3, 1)}
	s.walk(1, 60_001, "0.0.0.0:8000", 3, 0, queue...)
	s.emitted()
	counted := Counted{ID: 1, Key: key("0.0.0.0:8000"), Family: 2, Backlog: 5}
	s.sample(60_100*ms, []Counted{counted}) // not touched since: no depth
	s.emitted()                             // watched for too short a time
	s.sample(60_300*ms, []Counted{counted})
	s.emitted("60300 ms stall 0.0.0.0:8000 depth 3/5 59.3s")
	r := s.row()
	s.balanced(r)
	if r.QueuedAtAttach != 3 || r.DeadAtAttach != 2 || r.Dead() != 0 || r.Unaccepted.Dead() != 2 {
		t.Errorf("%+v", r)
	}
	queue[0].State = event.Close // an RST after the FIN, and its event was lost
	queue[2].State = event.CloseWaited
	s.walk(1, 62_000, "0.0.0.0:8000", 3, 0, queue...)
	s.emitted("62000 ms reset 1 recovered after FIN", "62000 ms close_wait 3 recovered")
	s.walk(1, 64_000, "0.0.0.0:8000", 3, 0, queue...)
	s.emitted()
	if u := s.row().Unaccepted; u.Close != 2 || u.CloseWait != 1 || u.Established != 0 {
		t.Errorf("%+v", u)
	}

	for i := range int64(3) { // all purged
		e := conn(event.Purged, 65_000, 1000+i, uint16(1+i), event.Close)
		e.ListenerID, e.Depth = 1, uint32(2-i)
		s.apply(e)
	}
	s.emitted("65000 ms stall_end 0.0.0.0:8000 depth 2/5 1m4s by close")
	s.apply(event.Event{Kind: event.ListenerClosed, Time: 65_001 * ms, ListenerID: 1})
	counted.Purged, counted.PurgedDead, counted.Closed = 3, 3, true
	s.sample(65_200*ms, []Counted{counted}, AtAddress{Key: key("127.0.0.1:8000"), CloseWait: 1, Reset: 1, ResetAfterFIN: 1})
	s.sample(65_400*ms, []Counted{counted}) // said again
	s.emitted()
	r = s.row()
	s.balanced(r)
	if r.Open != 0 || r.Closed != 1 || r.Purged != 3 || r.Dead() != 1 || r.Stalls != 1 || r.Unaccepted.Dead() != 0 {
		t.Errorf("%+v", r)
	}
}
