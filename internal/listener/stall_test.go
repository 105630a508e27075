package listener

import (
	"testing"
	"time"

	"acceptwatch/internal/event"
)

func TestStalls(t *testing.T) {
	base := Counted{ID: 1, Key: key("0.0.0.0:8000"), Family: 2, Backlog: 5}
	type step func(s *story, c *Counted)
	sample := func(at int64, change func(c *Counted)) step {
		return func(s *story, c *Counted) {
			if change != nil {
				change(c)
			}
			s.sample(at*ms, []Counted{*c})
		}
	}
	accept := func(at int64, depth uint32) step {
		return func(s *story, c *Counted) { s.accept(1, at, at-1, 7, event.Established, depth) }
	}
	walk := func(at int64, depth uint32, queue ...event.Event) step {
		return func(s *story, c *Counted) { s.walk(1, at, "0.0.0.0:8000", depth, 0, queue...) }
	}
	fill := func(at int64, depth uint32) func(c *Counted) {
		return func(c *Counted) { c.NonEmptySince, c.Depth, c.Enqueued = at*ms, depth, c.Enqueued+uint64(depth) }
	}
	for _, tc := range []struct {
		name  string
		steps []step
		want  []string
	}{
		{"an empty queue never", []step{walk(1, 0), sample(100, nil), sample(90_000, nil)}, nil},
		{"not before the time is over", []step{walk(1, 0), sample(100, fill(50, 1)), sample(1049, nil)}, nil},
		{"when it is, once", []step{walk(1, 0), sample(100, fill(50, 1)), sample(1050, nil), sample(1250, nil)},
			[]string{"1050 ms stall 0.0.0.0:8000 depth 1/5 1s"}},
		{"counted from the last accept", []step{walk(1, 0), sample(100, fill(50, 3)), accept(900, 2), sample(1200, nil), sample(1900, nil)},
			[]string{"1900 ms stall 0.0.0.0:8000 depth 2/5 1s"}},
		{"and by the counts, if its event was lost", []step{walk(1, 0), sample(100, fill(50, 3)),
			sample(1100, func(c *Counted) { c.LastAccept, c.Depth, c.Accepted = 900*ms, 2, 1 }), sample(1900, nil)},
			[]string{"1900 ms stall 0.0.0.0:8000 depth 2/5 1s"}},
		{"an idle server that gets a connection is not stalled", []step{walk(1, 0), accept(10, 0), sample(60_000, nil), sample(60_200, fill(60_100, 1))}, nil},
		{"not even if the kernel missed when", []step{walk(1, 0), sample(5, fill(5, 1)), accept(10, 0), sample(60_000, func(c *Counted) { c.Depth, c.Accepted = 0, 1 }),
			sample(60_200, func(c *Counted) { c.Depth, c.Enqueued = 2, 3 })}, nil},
		{"ended and armed again", []step{walk(1, 0), sample(100, fill(50, 3)), sample(2000, nil), accept(2100, 2), sample(2200, nil), sample(3100, nil), accept(3200, 1)},
			[]string{
				"2000 ms stall 0.0.0.0:8000 depth 3/5 1.95s", "2100 ms stall_end 0.0.0.0:8000 depth 2/5 2.05s by accept",
				"3100 ms stall 0.0.0.0:8000 depth 2/5 1s", "3200 ms stall_end 0.0.0.0:8000 depth 1/5 1.1s by accept"}},
		{"ended by an accept whose event was lost, stalled again", []step{walk(1, 0), sample(100, fill(50, 3)), sample(2000, nil),
			sample(5000, func(c *Counted) { c.LastAccept, c.Accepted, c.Depth = 3000*ms, 1, 2 })},
			[]string{
				"2000 ms stall 0.0.0.0:8000 depth 3/5 1.95s", "3000 ms stall_end 0.0.0.0:8000 depth 2/5 2.95s by accept",
				"5000 ms stall 0.0.0.0:8000 depth 2/5 2s"}},
		{"an accept of before does not end it", []step{walk(1, 0), sample(100, fill(50, 3)), sample(2000, nil), accept(40, 0)},
			[]string{"2000 ms stall 0.0.0.0:8000 depth 3/5 1.95s"}},
		{"ended by emptying", []step{walk(1, 0), sample(100, fill(50, 1)), sample(2000, nil), walk(2500, 0), sample(2600, nil), sample(2800, nil)},
			[]string{"2000 ms stall 0.0.0.0:8000 depth 1/5 1.95s", "2600 ms stall_end 0.0.0.0:8000 depth 0/5 2.55s by empty"}},
		{"ended by closing", []step{walk(1, 0), sample(100, fill(50, 1)), sample(2000, nil), func(s *story, c *Counted) {
			s.apply(event.Event{Kind: event.ListenerClosed, Time: 2500 * ms, ListenerID: 1})
		}, sample(2600, func(c *Counted) { c.Closed = true }), sample(9000, nil)},
			[]string{"2000 ms stall 0.0.0.0:8000 depth 1/5 1.95s", "2500 ms stall_end 0.0.0.0:8000 depth 0/5 2.45s by close"}},
		{"ended by closing, whose event was lost", []step{walk(1, 0), sample(100, fill(50, 1)), sample(2000, nil),
			sample(2600, func(c *Counted) { c.Closed, c.Depth = true, 1 }), sample(9000, nil)},
			[]string{"2000 ms stall 0.0.0.0:8000 depth 1/5 1.95s", "2600 ms stall_end 0.0.0.0:8000 depth 0/5 2.55s by close"}},
		{"at attach, since the head was queued", []step{walk(60_000, 2, entry(5000, 1, 1), entry(6000, 2, 1)), sample(60_100, nil), sample(60_200, nil)},
			[]string{"60200 ms stall 0.0.0.0:8000 depth 2/5 55.2s"}},
		{"not at attach, if somebody accepts", []step{walk(60_000, 2, entry(5000, 1, 1), entry(6000, 2, 1)), accept(60_050, 1), sample(60_200, nil)}, nil},
		{"at attach, the head not known", []step{walk(60_000, 2), sample(60_900, nil), sample(61_000, nil)},
			[]string{"61000 ms stall 0.0.0.0:8000 depth 2/5 1s"}},
		{"ended by an accept that only a walk shows", []step{walk(60_000, 2, entry(5000, 1, 1), entry(6000, 2, 1)), sample(60_200, nil),
			walk(63_000, 1, entry(62_900, 3, 1)), sample(63_100, nil)},
			[]string{"60200 ms stall 0.0.0.0:8000 depth 2/5 55.2s", "63000 ms stall_end 0.0.0.0:8000 depth 1/5 58s by accept"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, c := tell(t, Options{Start: 1}), base
			for _, step := range tc.steps {
				step(s, &c)
			}
			s.emitted(tc.want...)
		})
	}
}

func TestStallAfterIsAnOption(t *testing.T) {
	s := tell(t, Options{Start: 1, StallAfter: 10 * time.Second})
	c := Counted{ID: 1, Key: key("0.0.0.0:8000"), Depth: 1, Enqueued: 1, NonEmptySince: ms}
	s.sample(10_000*ms, []Counted{c})
	s.emitted()
	s.sample(10_001*ms, []Counted{c})
	s.emitted("10001 ms stall 0.0.0.0:8000 depth 1/0 10s")
}

// One worker of a group is stuck: its queue is, the others are not.
func TestOneMemberOfAGroupStalls(t *testing.T) {
	s := tell(t, Options{Start: 1})
	var c []Counted
	for id := uint64(1); id <= 2; id++ {
		c = append(c, Counted{ID: id, Key: key("0.0.0.0:8000"), Depth: 1, Enqueued: 1, NonEmptySince: ms, Backlog: 5})
	}
	s.sample(900*ms, c)
	s.accept(1, 1000, 999, 1, event.Established, 1)
	s.sample(1500*ms, c)
	s.emitted("1500 ms stall 0.0.0.0:8000 depth 1/5 1.499s")
	r := s.row()
	if r.StalledSince != ms || r.Stalls != 1 || len(r.Members) != 2 || r.Members[0].ID != 2 ||
		r.Members[0].StalledSince != ms || r.Members[1].StalledSince != 0 {
		t.Errorf("%+v", r)
	}
}

func TestStallsThatBeginTogetherComeInAFixedOrder(t *testing.T) {
	for range 5 {
		s := tell(t, Options{Start: 1})
		var c []Counted
		for i, addr := range []string{"10.0.0.3:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.1:1"} {
			c = append(c, Counted{ID: uint64(1 + i), Key: key(addr), Depth: 1, Enqueued: 1, NonEmptySince: 100*ms - int64(i%2)})
		}
		s.sample(2000*ms, c)
		s.emitted("2000 ms stall 10.0.0.1:1 depth 1/0 1.900000001s", "2000 ms stall 10.0.0.1:2 depth 1/0 1.900000001s",
			"2000 ms stall 10.0.0.2:1 depth 1/0 1.9s", "2000 ms stall 10.0.0.3:1 depth 1/0 1.9s")
	}
}
