package probe

import (
	"math/bits"
	"net/netip"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
)

// ofItsOwn are the listeners of a test, and no others of this host.
func ofItsOwn() filter.Filter {
	return filter.Filter{Addr: netip.MustParsePrefix("127.0.0.2/32")}
}

// Sockets whose addresses have the same place in the table of those found lately
// push each other out of it, and are found by the hash map.
func TestListenersThatShareAPlaceAreCountedApart(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m, Filter: ofItsOwn(), Listeners: 8192})
		const servers, rounds = 4200, 2 // more than there are places
		all := make([]*server, servers)
		for i := range all {
			all[i] = listen(t, "127.0.0.2:0", 8)
		}
		for range rounds {
			for _, s := range all {
				connect(t, s.addr).close()
				s.accept()
			}
		}
		lately := uint(tr.coll.Variables[tracingVarFoundLately].Size()) / 4
		places := map[uint32]int{}
		check(t, tr.counts.eachListener(func(l *tracingListener) error {
			places[uint32(l.Socket)*0x9e3779b1>>(33-bits.Len(lately))]++ // place_of, bpf/listener.bpf.h
			return nil
		}))
		if len(places) == servers {
			t.Fatalf("no two of %d sockets share a place", servers)
		}
		accepted := map[netip.AddrPort]uint64{}
		enqueued := map[netip.AddrPort]uint64{}
		for _, l := range must(tr.Sample(false))(t).Listeners {
			accepted[l.Key.Addr] += l.Accepted
			enqueued[l.Key.Addr] += l.Enqueued
		}
		for _, s := range all {
			if accepted[s.addr] != rounds || enqueued[s.addr] != rounds {
				t.Errorf("%s: %d accepted and %d enqueued, want %d", s.addr, accepted[s.addr], enqueued[s.addr], rounds)
			}
		}
	}, Fentry, Kprobe)
}

// Listeners come and go, more than there is room for at once: their slots are given
// back, by the program that sees them close, or after a walk where none does.
func TestSlotsOfClosedListenersAreGivenBack(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		for _, seen := range []bool{true, false} {
			const room, come = 8, 30
			tr := open(t, Options{Mode: m, Filter: ofItsOwn(), Listeners: room, fault: func(h *hook) error {
				if h.symbol == "inet_csk_listen_stop" && !seen {
					return errNeverCalled
				}
				return nil
			}})
			table := listener.New(listener.Options{StallAfter: time.Hour, Start: monotonic()})
			look := func() {
				check(t, tr.Walk())
				check(t, tr.Read(func(e *event.Event) { table.Apply(e, nil) }))
				table.Update(must(tr.Sample(true))(t), nil)
			}
			look() // else the first listener may be where the one that proves the hooks was
			look()
			for range come {
				s := listen(t, "127.0.0.2:0", 8)
				connect(t, s.addr).close()
				s.accept()
				s.close()
				look()
				look()
			}
			var accepted uint64
			for _, r := range table.Rows() {
				accepted += r.Accepted
			}
			if accepted != come {
				t.Errorf("close seen %v: %d accepted, want %d; losses %+v", seen, accepted, come, table.Losses())
			}
			for _, loss := range table.Losses() {
				if loss.What == "listeners_full" {
					t.Errorf("close seen %v: %d %s", seen, loss.Count, loss.Text)
				}
			}
			eachSlotOnce(t, tr, room)
		}
	}, Fentry, Kprobe)
}

// eachSlotOnce checks that each slot is free or has one listener.
func eachSlotOnce(t *testing.T, tr *Tracer, slots uint32) {
	t.Helper()
	check(t, detach(tr.links))
	tr.links = nil
	times := map[uint32]int{}
	var slot uint32
	for tr.coll.Maps[tracingMapFreeEntries].LookupAndDelete(nil, &slot) == nil {
		times[slot]++
	}
	free := len(times)
	var socket uint64
	it := tr.coll.Maps[tracingMapListeners].Iterate()
	for it.Next(&socket, &slot) {
		times[slot]++
	}
	check(t, it.Err())
	for slot := uint32(firstEntry); slot < firstEntry+slots; slot++ {
		if times[slot] != 1 {
			t.Errorf("slot %d is free or taken %d times; %d of %d are free", slot, times[slot], free, slots)
		}
	}
}
