package listener

import (
	"net/netip"
	"runtime"
	"testing"

	"acceptwatch/internal/event"
)

// heap is the memory that is in use, in MiB.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// churn opens and closes n listeners, each with one accepted and one purged
// connection, on as many addresses as told, and samples now and then.
func churn(s *story, n, addresses int, sampled bool) {
	var batch []Counted
	for i := range n {
		id, at := uint64(1+i), second+int64(i)*1000
		k := Key{NetNS: uint32(i % addresses), Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 8000)}
		s.table.Apply(&event.Event{Kind: event.Listener, Time: at, ListenerID: id, NetNS: k.NetNS, Local: k.Addr, Family: 2, Depth: 0}, nil)
		s.table.Apply(&event.Event{Kind: event.CloseWait, Time: at, Queued: at, NetNS: k.NetNS, Local: k.Addr, State: event.CloseWaited}, nil)
		s.table.Apply(&event.Event{Kind: event.Purged, Time: at, Queued: at, NetNS: k.NetNS, Local: k.Addr, ListenerID: id}, nil)
		s.table.Apply(&event.Event{Kind: event.ListenerClosed, Time: at, ListenerID: id}, nil)
		if !sampled {
			continue
		}
		c := Counted{ID: id, Key: k, Enqueued: 2, Accepted: 1, Purged: 1, Closed: true, Waits: &Histogram{}}
		c.Waits.AddBucket(i%Buckets, 1)
		if batch = append(batch, c); len(batch) == 1000 {
			s.table.Update(&Sample{Time: at, Listeners: batch}, nil)
			batch = batch[:0]
		}
	}
	if sampled { // a listener is forgotten one sample after its last counts
		s.table.Update(&Sample{Time: second + int64(n)*1000}, nil)
	}
}

func TestChurnNeedsBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const n = 200_000 // a million needs no more
	for _, tc := range []struct {
		name      string
		addresses int
		sampled   bool
		rows      int
		other     uint64 // listeners in the row of others
	}{
		{"of one address", 1, true, 1, 0},
		{"of one address, without samples", 1, false, 1, 0},
		{"each of its own address", n, true, 1<<15 + 1, n - 1<<15},
		{"each of its own address, without samples", n, false, 1<<15 + 1 + maxClosing, n - 1<<15 - maxClosing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tell(t, Options{})
			before := heap()
			churn(s, n, tc.addresses, tc.sampled)
			if used := heap() - before; used > 64 {
				t.Errorf("%.0f MiB are in use", used)
			}
			rows := s.table.Rows()
			if len(rows) != tc.rows {
				t.Errorf("%d rows, want %d", len(rows), tc.rows)
			}
			var sum Row
			for i := range rows {
				sum.Closed += rows[i].Closed
				sum.Enqueued += rows[i].Enqueued
				sum.Accepted += rows[i].Accepted
				sum.Purged += rows[i].Purged
				sum.Wait.Count += rows[i].Wait.Count
				if rows[i].Other && rows[i].Closed != tc.other {
					t.Errorf("%d in the row of others, want %d", rows[i].Closed, tc.other)
				}
			}
			want := uint64(0)
			if tc.sampled {
				want = n
			}
			if sum.Closed != n || sum.Enqueued != 2*want || sum.Accepted != want || sum.Purged != want || sum.Wait.Count != want {
				t.Errorf("%+v", sum)
			}
			l := s.table.Losses()
			if tc.other > 0 && (len(l) != 1 || l[0].What != "listeners_folded" || l[0].Count != tc.other) || tc.other == 0 && len(l) != 0 {
				t.Errorf("%+v", l)
			}
			if n := s.table.dead.len(); n != 0 {
				t.Errorf("%d dead in queues that are gone", n)
			}
		})
	}
}

func TestTheMemoryOfAnIncidentGoesWithIt(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.walk(1, 1, "0.0.0.0:8000", 0, 0)
	for i := range int64(100_000) {
		s.apply(conn(event.CloseWait, 200_000, 100+i, 7, event.CloseWaited))
	}
	for i := range int64(100_000) {
		s.accept(1, 300_000+i, 100+i, 7, event.CloseWaited, uint32(99_999-i))
	}
	s.emitted()
	if s.table.dead.slab != nil || s.table.dead.index != nil {
		t.Errorf("%d entries are kept", len(s.table.dead.slab))
	}
}

func TestTooManyAddressesAreALoss(t *testing.T) {
	s := tell(t, Options{MaxRows: 10})
	for range 2 {
		var at []AtAddress
		for i := range maxAddresses + 5 {
			at = append(at, AtAddress{Key: Key{NetNS: uint32(1 + i), Addr: netip.MustParseAddrPort("10.0.0.1:80")}, CloseWait: 1})
		}
		s.sample(second, nil, at...)
	}
	var dead uint64
	for _, r := range s.table.Rows() {
		dead += r.Dead()
	}
	if dead != maxAddresses {
		t.Errorf("%d dead", dead)
	}
	for _, l := range s.table.Losses() {
		if l.What == "addresses_not_tracked" && l.Count == 5 {
			return
		}
	}
	t.Errorf("%+v", s.table.Losses())
}

func TestAnAddressThatComesBackIsOneRow(t *testing.T) {
	s := tell(t, Options{MaxRows: 2})
	for id := uint64(10); id < 13; id++ {
		s.sample(second, []Counted{{ID: id, Key: key("0.0.0.0:8000"), Enqueued: 5, Accepted: 5, Closed: id < 12}})
	}
	n := 0
	for _, r := range s.table.Rows() {
		if r.Key.NetNS != netns {
			continue
		}
		if n++; r.Open != 1 || r.Closed != 2 || r.Accepted != 15 || r.ID != 12 {
			t.Errorf("%+v", r)
		}
	}
	if n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestAFoldedHistogramIsNotSummedUp(t *testing.T) {
	s := tell(t, Options{})
	shared := &Histogram{}
	shared.AddBucket(50, 1000)
	var c []Counted
	for id := uint64(1); id <= 4; id++ {
		c = append(c, Counted{ID: id, Key: key("0.0.0.0:8000"), Accepted: 250, Waits: shared, Folded: true, Closed: id == 4, MaxWait: 50_000})
	}
	s.sample(second, c)
	r := s.row()
	if r.Wait.Count != 1000 || !r.Folded || r.Wait.P50 != 50_000 || r.Wait.Max != 50_000 || r.Accepted != 1000 {
		t.Errorf("%+v", r.Wait)
	}
}

func TestHistogramsAreCopied(t *testing.T) {
	s := tell(t, Options{})
	h := &Histogram{}
	h.Add(1000)
	c := Counted{ID: 1, Key: key("0.0.0.0:8000"), Accepted: 1, Waits: h}
	s.sample(second, []Counted{c})
	seen := s.row().Wait.Histogram
	h.Add(1000)
	s.sample(2*second, []Counted{c})
	if seen.Count() != 1 || s.row().Wait.Count != 2 {
		t.Error(seen.Count(), s.row().Wait.Count)
	}
	c.Waits = nil // not asked for this time
	s.sample(3*second, []Counted{c})
	if s.row().Wait.Count != 2 {
		t.Error(s.row().Wait)
	}
}
