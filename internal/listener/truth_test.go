package listener

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"acceptwatch/internal/event"
)

// check compares all rows with the truth.
func (m *model) check(ever []*truth, exact bool) {
	type sum struct {
		enqueued, accepted, acceptedDead, purged, purgedDead, attach, dead uint64
		in, out, syn, ack, failed                                          uint64
		full                                                               time.Duration
		depth, maxDepth, inCloseWait, inClose                              uint32
	}
	want := map[Key]*sum{}
	for _, l := range ever {
		w := want[l.Key]
		if w == nil {
			w = &sum{}
			want[l.Key] = w
		}
		w.enqueued += l.Enqueued
		w.accepted += l.Accepted
		w.acceptedDead += l.AcceptedCloseWait + l.AcceptedReset
		w.purged += l.Purged
		w.purgedDead += l.PurgedDead
		w.attach += l.attach
		w.in += l.MigratedIn
		w.out += l.MigratedOut
		w.syn += l.OverflowSYN
		w.ack += l.OverflowACK
		w.full += m.counted(l).Full
		w.maxDepth = max(w.maxDepth, l.MaxDepth)
		w.depth += l.Depth
		for _, q := range l.queue {
			switch q.state {
			case event.CloseWaited:
				w.inCloseWait++
			case event.Close:
				w.inClose++
			}
		}
	}
	for _, a := range m.at {
		k := key("0.0.0.0:8000")
		if a.Key.Addr == netip.MustParseAddrPort("10.0.0.1:8000") {
			k = key("10.0.0.1:8000")
		}
		want[k].dead += a.CloseWait + a.Reset - a.ResetAfterFIN
	}
	var adrift uint64
	for _, a := range m.failed {
		if a.Key == (Key{}) {
			adrift += a.Count
		} else {
			want[a.Key].failed += a.Count
		}
	}
	for _, a := range m.table.AcceptErrors() {
		adrift -= a.Count
	}
	if adrift != 0 {
		m.t.Errorf("%d failed accepts of listeners that are not known are missing", int64(adrift))
	}
	for _, r := range m.table.Rows() {
		w := want[r.Key]
		if w == nil {
			m.t.Errorf("row of %v, where nobody listened", r.Key)
			continue
		}
		got := sum{r.Enqueued, r.Accepted, r.AcceptedDead, r.Purged, r.PurgedDead, w.attach, r.Dead(),
			r.MigratedIn, r.MigratedOut, r.OverflowSYN, r.OverflowACK, r.Failed(), r.Full,
			r.Depth, r.MaxDepth, w.inCloseWait, w.inClose}
		u := r.Unaccepted
		if exact {
			got.attach, got.inCloseWait, got.inClose = r.QueuedAtAttach, u.CloseWait, u.Close
			if off, known := r.Imbalance(); off != 0 || !known {
				m.t.Errorf("%v: books are off by %d (%v)", r.Key.Addr, off, known)
			}
			for _, one := range r.Members {
				if off, known := one.Imbalance(); off != 0 || !known {
					m.t.Errorf("%v, member %d: books are off by %d (%v)", r.Key.Addr, one.ID, off, known)
				}
			}
		}
		if got != *w {
			m.t.Errorf("%v:\n got %+v\nwant %+v", r.Key.Addr, got, *w)
		}
		if u.Known && uint64(u.Established)+uint64(u.CloseWait)+uint64(u.Close)+uint64(u.SynRecv)+uint64(u.NotLooked) != uint64(r.Depth) {
			m.t.Errorf("%+v do not sum up to %d", u, r.Depth)
		}
		if age, known := r.Oldest(); known && age < 0 || r.Stalled < 0 {
			m.t.Errorf("negative: %v, %v", age, r.Stalled)
		}
	}
}

func TestAgainstAModel(t *testing.T) {
	for _, tc := range []struct {
		name    string
		dropped float64
		deaths  bool
		late    int
	}{
		{"all events", 0, false, 0},
		{"reordered", 0, false, 6},
		{"deaths lost", 0.3, true, 0},
		{"deaths lost and reordered", 0.3, true, 6},
		{"a third lost and reordered", 0.3, false, 6},
		{"all lost", 1, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for seed := range uint64(60) {
				if !runModel(t, seed, tc.dropped, tc.deaths, tc.late) {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func runModel(t *testing.T, seed uint64, dropped float64, deaths bool, late int) bool {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), now: second, deaths: deaths,
		at: map[netip.Addr]*AtAddress{}, lines: map[string]int{}, stalled: map[uint64]bool{}}
	m.listen("0.0.0.0:8000")
	m.listen("0.0.0.0:8000")
	m.listen("10.0.0.1:8000")
	m.listen("10.0.0.1:8000")
	for range m.r.IntN(200) {
		m.step()
	}
	// Attach: counting begins, and the first walk sees everything.
	for _, l := range m.open {
		l.Counted = Counted{ID: l.ID, Key: l.Key, Family: l.Family, Inode: l.Inode, Depth: l.Depth, Backlog: l.Backlog, MaxDepth: l.Depth}
		l.attach, l.fullSince = uint64(len(l.queue)), 0
		m.changed(l)
	}
	clear(m.at)
	m.now += ms
	m.attached, m.table = true, New(Options{Start: m.now})
	born := slices.Clone(m.all)
	m.walk()
	m.drain(true)
	m.sample()
	m.dropped, m.late = dropped, late
	deadThen := map[string]bool{} // by the first walk
	for _, l := range m.open {
		for _, q := range l.queue {
			deadThen[q.String()] = q.state.Dead()
		}
	}

	for range 2000 {
		m.step()
		for _, l := range m.all {
			if !slices.Contains(born, l) {
				born = append(born, l)
			}
		}
	}
	// At rest: nothing is lost any more, and a walk sees everything.
	m.drain(true)
	m.late, m.dropped = 0, 0
	m.now += ms
	m.sample() // who was closed
	m.walk()
	m.drain(true)
	m.now += ms
	m.sample()
	m.check(born, true)

	truthful := 0
	for _, q := range m.ever {
		id := q.String()
		fins, resets := m.lines["close_wait "+id], m.lines["reset "+id]
		if fins > 1 || resets > 1 || fins > 0 && q.state == event.Established {
			t.Errorf("%s, %s: shown as %d close_wait, %d reset", id, q.state, fins, resets)
		}
		if q.deadAt == 0 || deadThen[id] || (!deaths && dropped > 0) {
			continue
		}
		truthful++
		// If it was lost, and the listener was closed, nothing could show it.
		unseen := dropped > 0 && q.left == event.Purged
		if fins+resets == 0 && q.state.Dead() && !unseen {
			t.Errorf("%s, %s: its death was never shown", id, q.state)
		}
	}
	if deaths && truthful == 0 {
		t.Error("nothing was tested")
	}
	return !t.Failed()
}
