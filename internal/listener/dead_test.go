package listener

import (
	"net/netip"
	"testing"

	"acceptwatch/internal/event"
)

// Connections that were queued in the same µs differ in nothing but the peer that
// MPTCP forgets: one of them is found, as long as one is left.
func TestAForgottenPeerIsFoundByWhenItWasQueued(t *testing.T) {
	at := func(queued int64, port uint16) event.Event {
		e := conn(event.Reset, 100, queued, port, event.Close)
		if port == 0 {
			e.Peer = netip.AddrPortFrom(e.Peer.Addr(), 0)
		}
		return e
	}
	for _, removed := range [][]uint16{{1, 2, 3}, {3, 2, 1}, {2, 1, 3}, {2, 3, 1}} {
		var s deadSet
		s.max = 10
		var r row
		left := map[uint16]int32{}
		add := func(queued int64, port uint16) int32 {
			e := at(queued, port)
			id := identify(&e)
			return s.add(&id, event.Close, &r, 100)
		}
		find := func() uint16 {
			e := at(50, 0)
			return s.identify(&e).peerPort
		}
		add(51, 9)
		if port := find(); port != 0 {
			t.Errorf("port %d was found, of another time", port)
		}
		left[1] = add(50, 1)
		left[2] = add(50, 2)
		left[3] = add(50, 3)
		for _, port := range removed {
			if found := find(); left[found] == 0 {
				t.Errorf("removing %v: port %d was found, left are %v", removed, found, left)
			}
			s.remove(left[port])
			delete(left, port)
		}
		if port := find(); port != 0 || len(s.times) != 1 {
			t.Errorf("removing %v: port %d was found though none is left, of %d times", removed, port, len(s.times))
		}
	}
}
