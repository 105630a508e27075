package recording

import (
	"bytes"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

const second = int64(1e9)

// traffic is accepted connections as a busy host has them: five listeners of
// different rates, eight acceptor threads of two servers, peers with random
// IPv4 addresses and ephemeral ports, arrivals at random, waits of which half
// are below 300 µs and few above 10 ms, requests that are often there before
// accept, and 1 % of clients that are gone. Events of the two CPUs come in
// batches, so their times are not quite in order.
func traffic(seed uint64, n int, perSecond float64) []event.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	comms := []event.Comm{{'n', 'g', 'i', 'n', 'x'}, {'g', 'u', 'n', 'i', 'c', 'o', 'r', 'n'}}
	share := []int{0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4} // of the listeners
	clock := []int64{100 * second, 100 * second}
	var all []event.Event
	for len(all) < n {
		cpu := r.IntN(2)
		for range 1 + r.IntN(4) {
			clock[cpu] += int64(r.ExpFloat64() * 2e9 / perSecond)
			l := share[r.IntN(len(share))]
			server := l % 2
			tid := uint32(1000 + 100*server + r.IntN(4))
			wait := int64(math.Exp(math.Log(300e3) + 1.5*r.NormFloat64())) // ns
			depth := uint32(r.ExpFloat64() * 1.5)
			e := event.Event{
				Kind: event.Accepted, Time: clock[cpu], Queued: (clock[cpu] - wait) / 1000 * 1000,
				ListenerID: 0xffff_8880_0000_0000 + uint64(l)<<12, NetNS: 4026531840,
				Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 10}), uint16(8000+l)),
				Peer:  netip.AddrPortFrom(address(r.Uint32()), uint16(32768+r.IntN(28232))),
				Depth: depth, DepthAtEntry: depth + r.Uint32N(2), Backlog: 511,
				PID: 1000 + 100*uint32(server), TID: tid, Comm: comms[server],
				Family: 2, State: event.Established,
			}
			if r.IntN(3) > 0 {
				e.Unread = 78 + r.Uint32N(400)
			}
			if r.IntN(100) == 0 {
				e.State = event.CloseWaited
			}
			all = append(all, e)
		}
	}
	return all[:n]
}

func address(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// sampleOf is what a source counted of the first events.
func sampleOf(all []event.Event, at int64, waits bool) *listener.Sample {
	byID := make(map[uint64]*listener.Counted)
	s := &listener.Sample{Time: at}
	for i := range all {
		e := &all[i]
		c := byID[e.ListenerID]
		if c == nil {
			c = &listener.Counted{ID: e.ListenerID, Family: e.Family, Backlog: e.Backlog,
				Key: listener.Key{NetNS: e.NetNS, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), e.Local.Port())}}
			if waits {
				c.Waits = new(listener.Histogram)
			}
			byID[e.ListenerID] = c
		}
		c.Accepted++
		c.Enqueued++
		c.Depth = e.Depth
		c.LastAccept = e.Time
		if wait, known := e.Wait(); known && waits {
			c.Waits.Add(wait)
		}
	}
	for id := uint64(0xffff_8880_0000_0000); len(s.Listeners) < len(byID); id += 1 << 12 {
		if c := byID[id]; c != nil {
			s.Listeners = append(s.Listeners, *c)
		}
	}
	return s
}

func traffic1() *event.Event { return &traffic(1, 1, 1)[0] }

// addressOf is an address of so many bytes.
func addressOf(t testing.TB, size int) netip.AddrPort {
	t.Helper()
	addr, ok := netip.AddrFromSlice(bytes.Repeat([]byte{1}, size))
	if !ok {
		t.Fatal(size)
	}
	return netip.AddrPortFrom(addr, 1)
}
