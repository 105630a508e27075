package listener

import (
	"net/netip"
	"testing"

	"acceptwatch/internal/event"
)

// open makes a listener known by the walk of its empty queue.
func (s *story) open(id uint64, addr string, ifindex uint32, flags event.Flags) {
	local := netip.MustParseAddrPort(addr)
	family := uint8(2)
	if local.Addr().Is6() {
		family = 10
	}
	s.apply(event.Event{Kind: event.Listener, Time: 1, ListenerID: id, NetNS: netns, Family: family,
		Local: local, Ifindex: ifindex, Flags: flags})
}

func TestResolveLikeTheKernel(t *testing.T) {
	s := tell(t, Options{})
	for i, l := range []struct {
		addr    string
		ifindex uint32
		flags   event.Flags
	}{
		1:  {"0.0.0.0:80", 0, 0},
		2:  {"10.0.0.1:80", 0, 0},
		3:  {"10.0.0.1:80", 7, 0},
		4:  {"0.0.0.0:80", 7, 0},
		5:  {"[::]:81", 0, 0},
		6:  {"[::]:82", 0, event.V6Only},
		7:  {"[::1]:82", 0, 0},
		8:  {"[::ffff:10.0.0.9]:83", 0, 0},
		9:  {"[::]:84", 0, 0},
		10: {"0.0.0.0:84", 0, 0},
		11: {"[::]:85", 3, 0},
		12: {"0.0.0.0:85", 0, 0},
	} {
		if i > 0 {
			s.open(uint64(i), l.addr, l.ifindex, l.flags)
		}
	}
	for _, tc := range []struct {
		name    string
		local   string
		ifindex uint32
		want    uint64
		bound   string
	}{
		{"wildcard", "10.0.0.2:80", 0, 1, "0.0.0.0:80"},
		{"specific before wildcard", "10.0.0.1:80", 0, 2, "10.0.0.1:80"},
		{"device before none", "10.0.0.1:80", 7, 3, "10.0.0.1:80"},
		{"specific on another device", "10.0.0.1:80", 8, 2, "10.0.0.1:80"},
		{"wildcard on the device", "10.0.0.2:80", 7, 4, "0.0.0.0:80"},
		{"dual stack takes IPv4", "10.0.0.1:81", 0, 5, "[::]:81"},
		{"dual stack takes v4-mapped", "[::ffff:10.0.0.1]:81", 0, 5, "[::]:81"},
		{"dual stack takes IPv6", "[2001:db8::1]:81", 0, 5, "[::]:81"},
		{"v6only takes no IPv4", "10.0.0.1:82", 0, 0, ""},
		{"v6only takes IPv6", "[2001:db8::1]:82", 0, 6, "[::]:82"},
		{"specific IPv6", "[::1]:82", 0, 7, "[::1]:82"},
		{"bound v4-mapped", "10.0.0.9:83", 0, 8, "10.0.0.9:83"},
		{"IPv4 before dual stack", "10.0.0.1:84", 0, 10, "0.0.0.0:84"},
		{"IPv6 past IPv4", "[2001:db8::1]:84", 0, 9, "[::]:84"},
		{"another port", "10.0.0.1:86", 0, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := event.Event{Kind: event.CloseWait, NetNS: netns, Local: netip.MustParseAddrPort(tc.local), Ifindex: tc.ifindex}
			got, ok := s.table.Resolve(&e)
			if ok != (tc.want != 0) || got.ID != tc.want {
				t.Fatalf("got %+v, want %d", got, tc.want)
			}
			if ok && (got.Key.Addr.String() != tc.bound || got.Open != 1) {
				t.Errorf("%+v", got)
			}
			e.NetNS++
			if got, ok := s.table.Resolve(&e); ok {
				t.Errorf("in another network namespace: %+v", got)
			}
		})
	}
}

func TestResolveByIDAfterClose(t *testing.T) {
	s := tell(t, Options{})
	s.open(1, "0.0.0.0:8000", 0, 0)
	s.apply(event.Event{Kind: event.ListenerClosed, Time: 2, ListenerID: 1})
	late := conn(event.Purged, 0, 0, 1, event.Close)
	late.ListenerID = 1
	for range 6 { // through folding
		if got, ok := s.table.Resolve(&late); !ok || got.Key.Addr.String() != "0.0.0.0:8000" || got.Open != 0 {
			t.Errorf("%+v, %v", got, ok)
		}
		s.sample(second, nil)
	}
	s.open(2, "[::]:8000", 0, 0) // open before closed, though less specific
	late.ListenerID = 0
	if got, _ := s.table.Resolve(&late); got.ID != 2 {
		t.Errorf("%+v", got)
	}
}

func TestDeathsBelongToTheGroup(t *testing.T) {
	s := tell(t, Options{Start: 1})
	var counted []Counted
	for id := uint64(1); id <= 3; id++ {
		s.open(id, "0.0.0.0:8000", 0, 0)
		counted = append(counted, Counted{ID: id, Key: key("0.0.0.0:8000"), Family: 2, Backlog: 10, Enqueued: 10 * id, Accepted: 10*id - 1, Depth: 1})
	}
	counted[1].AcceptedCloseWait = 2
	s.sample(second, counted, AtAddress{Key: key("10.0.0.1:8000"), CloseWait: 3}, AtAddress{Key: key("10.0.0.2:8000"), Reset: 2, ResetAfterFIN: 1})
	e := conn(event.CloseWait, 0, 0, 1, event.CloseWaited)
	if p, ok := s.table.Resolve(&e); !ok || p.Open != 3 || p.ID != 0 {
		t.Errorf("%+v", p)
	}
	r := s.row()
	s.balanced(r)
	if r.Open != 3 || r.ID != 0 || len(r.Members) != 3 || r.Dead() != 4 || r.Enqueued != 60 || r.Accepted != 57 ||
		r.AcceptedDead != 2 || r.Depth != 3 || r.Backlog != 30 {
		t.Errorf("%+v", r)
	}
	for _, m := range r.Members {
		s.balanced(m)
		if m.Dead() != 0 || m.Enqueued != 10*m.ID || m.Depth != 1 || (m.AcceptedDead > 0) != (m.ID == 2) {
			t.Errorf("%+v", m)
		}
	}
}

func TestDeathsAtAnUnknownAddressWaitForTheListener(t *testing.T) {
	s := tell(t, Options{})
	at := AtAddress{Key: key("10.0.0.1:8000"), CloseWait: 3}
	dead := conn(event.CloseWait, 1, 1, 9, event.CloseWaited)
	dead.Local = at.Key.Addr
	s.apply(dead)
	s.sample(second, nil, at)
	if r := s.row("10.0.0.1:8000"); r.Dead() != 3 || r.Open != 0 || r.Family != 0 {
		t.Errorf("%+v", r)
	}
	if p, ok := s.table.Resolve(&event.Event{NetNS: netns, Local: at.Key.Addr}); ok {
		t.Errorf("a row by address is no listener: %+v", p)
	}
	at.CloseWait = 4
	s.sample(2*second, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Family: 2}}, at)
	if r := s.row(); r.Dead() != 4 || r.Key.Addr.String() != "0.0.0.0:8000" {
		t.Errorf("%+v", r)
	}
	// What died in the queue of a listener that closes is its own.
	at.CloseWait = 6
	s.sample(3*second, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Family: 2, Closed: true}}, at)
	at.CloseWait = 7 // counted while it was read
	s.sample(4*second, nil, at)
	if r := s.row(); r.Dead() != 7 || r.Closed != 1 {
		t.Errorf("%+v", r)
	}
}

func TestWhatHasNoEntryIsInTheRowOfOthers(t *testing.T) {
	s := tell(t, Options{})
	for range 2 { // cumulative, so saying it again changes nothing
		s.sample(second, []Counted{{Enqueued: 5, Accepted: 4}}, AtAddress{CloseWait: 2})
	}
	r := s.row()
	if !r.Other || r.Enqueued != 5 || r.Accepted != 4 || r.Dead() != 2 || r.AttachKnown || r.Lost != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAcceptsExitUnseenAreCountedByAddress(t *testing.T) {
	s := tell(t, Options{Start: 1})
	s.open(1, "0.0.0.0:8000", 0, 0)
	c := Counted{ID: 1, Key: key("0.0.0.0:8000"), Enqueued: 2, NonEmptySince: second, Depth: 2}
	s.sample(3*second, []Counted{c})
	s.emitted("3000 ms stall 0.0.0.0:8000 depth 2/0 2s")
	// Neither its listener nor the depth is in the event.
	e := conn(event.Accepted, 4000, 2000, 1, event.CloseWaited)
	e.Flags = event.ExitUnseen
	s.apply(e)
	s.emitted("4000 ms stall_end 0.0.0.0:8000 depth 2/0 3s by accept")
	c.Depth = 1
	s.sample(4100*ms, []Counted{c}, AtAddress{Key: key("127.0.0.1:8000"), Accepted: 1, AcceptedDead: 1})
	s.emitted()
	r := s.row()
	s.balanced(r)
	if r.Accepted != 1 || r.AcceptedDead != 1 || r.LastAccept != 4*second {
		t.Errorf("%+v", r)
	}
	// And when the event is lost, the count tells that somebody accepted.
	c.Enqueued, c.Depth = 3, 1
	s.sample(6*second, []Counted{c}, AtAddress{Key: key("127.0.0.1:8000"), Accepted: 2, AcceptedDead: 1})
	s.emitted()
	if r := s.row(); r.LastAccept != 6*second {
		t.Errorf("%+v", r)
	}
}
