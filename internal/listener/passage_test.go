package listener

import (
	"net/netip"
	"testing"

	"acceptwatch/internal/event"
)

// sampledStory is one of mode Restricted: what enters is counted by address, and
// walks tell what is there.
type sampledStory struct {
	*story
	entered, seen, purged uint64
}

func tellSampled(t *testing.T, start int64) *sampledStory {
	return &sampledStory{story: tell(t, Options{Start: start, Sampled: true})}
}

// look walks the queue of a listener; queued are when its entries entered it, in ms.
func (s *sampledStory) look(at int64, id uint64, flags event.Flags, queued ...int64) {
	local := key("127.0.0.1:8000").Addr
	s.apply(event.Event{Kind: event.Listener, Time: at * ms, ListenerID: id, NetNS: netns, Local: local, Family: 2,
		Depth: uint32(len(queued)), Backlog: 128, State: event.Listening, Flags: flags})
	for i, since := range queued {
		s.apply(event.Event{Kind: event.Queued, Time: at * ms, ListenerID: id, NetNS: netns, Local: local, Family: 2,
			Peer: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), uint16(1000+i)), Queued: since * ms, State: event.Established, Backlog: 128})
	}
}

func (s *sampledStory) count(at int64, id uint64, depth uint32, closed bool) {
	s.sample(at*ms, []Counted{{ID: id, Key: key("127.0.0.1:8000"), Family: 2, Backlog: 128, Depth: depth,
		Accepted: s.seen, Purged: s.purged, Closed: closed}}, AtAddress{Key: key("127.0.0.1:8000"), Enqueued: s.entered})
}

func (s *sampledStory) accepted(want, seen uint64, atLeast bool) {
	s.t.Helper()
	r := s.row()
	if r.Accepted != want || r.Seen != seen || r.AtLeast != atLeast || r.Lost != 0 || !r.Sampled {
		s.t.Errorf("accepted %d (at least: %t), %d seen, %d lost; want %d (%t), %d seen, none lost",
			r.Accepted, r.AtLeast, r.Seen, r.Lost, want, atLeast, seen)
	}
}

func TestWhoComesAndGoesBetweenTwoLooksWasAccepted(t *testing.T) {
	s := tellSampled(t, 1)
	s.look(100, 1, 0)
	s.count(150, 1, 0, false)
	s.entered = 50
	s.count(350, 1, 0, false)
	s.accepted(0, 0, false) // they may all be in the queue: nobody has looked since
	s.seen = 2
	s.look(400, 1, 0, 390)
	s.count(550, 1, 1, false)
	s.accepted(49, 2, false) // of the 50 that had entered, or more: the one that is there may be a later one
	s.entered = 51
	s.count(750, 1, 1, false)
	s.look(800, 1, 0)
	s.count(950, 1, 0, false)
	s.accepted(51, 2, false)
}

func TestNobodyIsAcceptedFromAQueueThatOnlyGrows(t *testing.T) {
	s := tellSampled(t, 1000*ms)
	s.look(1100, 1, 0, 500, 700, 1050) // the last one is counted as entered, too
	s.entered = 1
	s.count(1150, 1, 3, false)
	for at := int64(1200); at < 2000; at += 100 {
		queued := []int64{500, 700, 1050}
		for later := int64(1200); later <= at; later += 100 {
			queued = append(queued, later)
		}
		s.look(at+5, 1, 0, queued...)
		s.entered++
		s.count(at+50, 1, uint32(len(queued)), false)
		s.accepted(0, 0, false)
	}
}

// What is gone when a listener has closed was accepted before, or went with it.
func TestWhoLeavesWithAListenerIsNotCountedAsAccepted(t *testing.T) {
	s := tellSampled(t, 1)
	s.look(100, 1, 0)
	s.count(150, 1, 0, false)
	s.entered = 10
	s.count(350, 1, 0, false)
	s.look(400, 1, 0, 380)
	s.count(450, 1, 1, false)
	s.accepted(9, 0, false)
	s.entered, s.purged = 15, 1
	s.count(650, 1, 0, true)
	s.accepted(9, 0, true)
	// Another one listens at the address.
	s.seen, s.purged = 0, 0
	s.look(700, 2, 0)
	s.count(750, 2, 0, false)
	s.entered = 35
	s.count(950, 2, 0, false)
	s.look(1000, 2, 0)
	s.count(1150, 2, 0, false)
	s.accepted(29, 0, true)
}

func TestAListenerForMPTCPTellsHowManyWereAcceptedAtLeast(t *testing.T) {
	s := tellSampled(t, 1)
	s.look(100, 1, event.MPTCP)
	s.count(150, 1, 0, false)
	s.entered, s.seen = 3, 2
	s.count(350, 1, 0, false)
	s.look(400, 1, event.MPTCP, 390) // by MPTCP: it is not among the 3
	s.count(550, 1, 1, false)
	s.accepted(2, 2, true)
}

// A part of a recording begins with counts since before it.
func TestAPartOfARecordingCountsFromItsBeginning(t *testing.T) {
	s := tellSampled(t, 0)
	s.entered, s.seen = 1000, 20
	s.look(60_100, 1, 0, 59_000)
	s.count(60_150, 1, 1, false)
	base := s.table.Baseline()
	s.look(60_300, 1, 0, 59_000)
	s.count(60_350, 1, 1, false)
	s.entered = 1100
	s.count(60_550, 1, 1, false)
	s.look(60_600, 1, 0)
	s.count(60_750, 1, 0, false)
	r := base.RowsSince(s.table.Rows())[0]
	if r.Accepted != 101 || r.Seen != 0 || r.AtLeast {
		t.Errorf("accepted %d (at least: %t), %d seen, want 101", r.Accepted, r.AtLeast, r.Seen)
	}
}

// Each of a group has its own walk: who was in the one queue is not to be missed in
// the other.
func TestAGroupIsLookedAtAsAWhole(t *testing.T) {
	s := tellSampled(t, 1)
	s.look(100, 1, 0)
	s.look(100, 2, 0)
	s.count(150, 1, 0, false)
	s.entered = 4
	s.count(350, 1, 0, false)
	s.look(400, 1, 0, 380)
	s.count(550, 1, 1, false)
	s.accepted(0, 0, false) // the second one was not looked at
	s.look(600, 1, 0, 380)
	s.look(601, 2, 0, 390, 395)
	s.count(750, 1, 1, false)
	s.accepted(1, 0, false)
}

// Who accepts is not seen there, so nor is whether somebody tries.
func TestAStallSaysWhetherCallsOfAcceptAreSeen(t *testing.T) {
	for _, sampled := range []bool{false, true} {
		table := New(Options{Start: 1, Sampled: sampled})
		at := Counted{ID: 1, Key: key("127.0.0.1:8000"), Family: 2, Backlog: 128, Depth: 1, NonEmptySince: 100 * ms}
		table.Update(&Sample{Time: 100 * ms, Listeners: []Counted{at}}, nil)
		var stalls []event.Event
		table.Update(&Sample{Time: 2 * second, Listeners: []Counted{at}}, func(e *event.Event) { stalls = append(stalls, *e) })
		if len(stalls) != 1 || stalls[0].Kind != event.Stall || (stalls[0].Flags&event.Sampled != 0) != sampled {
			t.Errorf("sampled %t: %+v", sampled, stalls)
		}
	}
}
