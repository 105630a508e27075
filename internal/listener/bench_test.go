package listener

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"acceptwatch/internal/event"
)

const listeners = 5

// traffic is accepted connections of random peers over the listeners, in the
// form in which the ring holds them.
func traffic(n int) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	var raw []byte
	for i := range n {
		id := uint64(1 + r.IntN(listeners))
		at := second + int64(i)*1000
		e := event.Event{
			Kind: event.Accepted, Time: at, Queued: at - r.Int64N(50_000_000), ListenerID: id,
			Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(8000+id)),
			Peer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.Uint32()), byte(r.Uint32())}), uint16(r.Uint32())),
			NetNS: netns, Depth: r.Uint32N(5), Backlog: 128, PID: 100, TID: 101,
			Family: 2, State: event.Established, Comm: event.Comm{'n', 'g', 'i', 'n', 'x'},
		}
		raw = event.Append(raw, &e)
	}
	return raw
}

func listening(t *Table) {
	for id := uint64(1); id <= listeners; id++ {
		t.Apply(&event.Event{Kind: event.Listener, Time: second, ListenerID: id, NetNS: netns, Family: 2,
			Local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(8000+id)), Backlog: 128}, nil)
	}
}

// Bytes of the ring to state: the whole path of an event that no view shows.
func BenchmarkDecodeApply(b *testing.B) {
	const n = 1 << 14 // 2 MiB: more than fits near the core
	for _, bc := range []struct {
		name string
		dead int
	}{{"nobody dead", 0}, {"3000 dead", 3000}} {
		b.Run(bc.name, func(b *testing.B) {
			raw := traffic(n)
			t := New(Options{})
			listening(t)
			for i := range bc.dead {
				e := conn(event.CloseWait, 1, 1, uint16(i), event.CloseWaited)
				t.Apply(&e, nil)
			}
			var e event.Event
			emit := func(*event.Event) {}
			i, later := 0, uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				at := raw[i*event.Size:]
				// Time goes on when the traffic starts over.
				binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)+later)
				if err := event.Decode(at, &e); err != nil {
					b.Fatal(err)
				}
				t.Apply(&e, emit)
				if i++; i == n {
					i, later = 0, n*1000
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// Deaths are looked up by address, and remembered.
func BenchmarkDeathThenAccept(b *testing.B) {
	t := New(Options{})
	listening(t)
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		n++
		e := conn(event.CloseWait, 2000+n, 1000+n, uint16(n), event.CloseWaited)
		e.Local = netip.AddrPortFrom(e.Local.Addr(), 8001)
		t.Apply(&e, nil)
		e.Kind, e.ListenerID = event.Accepted, 1
		t.Apply(&e, nil)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
}

func BenchmarkUpdate(b *testing.B) {
	t := New(Options{})
	s := Sample{Time: second}
	for i := range 1000 {
		k := key("0.0.0.0:1")
		k.Addr = netip.AddrPortFrom(k.Addr.Addr(), uint16(1+i))
		s.Listeners = append(s.Listeners, Counted{ID: uint64(1 + i), Key: k, Family: 2, Backlog: 128})
		s.Addresses = append(s.Addresses, AtAddress{Key: k})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Time += 200 * ms
		for i := range s.Listeners {
			s.Listeners[i].Accepted++
			s.Addresses[i].CloseWait++
		}
		t.Update(&s, nil)
	}
}

func BenchmarkHistogramAdd(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for b.Loop() {
		h.Add(1001 * time.Millisecond)
	}
}

func TestApplyDoesNotAllocate(t *testing.T) {
	table := New(Options{})
	listening(table)
	raw := traffic(1000)
	var e event.Event
	emit := func(*event.Event) {}
	if n := testing.AllocsPerRun(10, func() {
		for i := range 1000 {
			if err := event.Decode(raw[i*event.Size:], &e); err != nil {
				t.Fatal(err)
			}
			table.Apply(&e, emit)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 1000 events", n)
	}
}

func BenchmarkRows(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			t := New(Options{})
			s := Sample{Time: second}
			for i := range n {
				s.Listeners = append(s.Listeners, Counted{ID: uint64(1 + i), Key: Key{NetNS: uint32(i), Addr: key("0.0.0.0:1").Addr}, Family: 2, Backlog: 128, Accepted: uint64(i * 7919 % n)})
			}
			t.Update(&s, nil)
			b.ReportAllocs()
			for b.Loop() {
				t.Rows()
			}
		})
	}
}
