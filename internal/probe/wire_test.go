package probe

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// The layout that the compiler gave to struct event, from its type information
// by way of the generated Go type, is the one that package event decodes.
func TestWireLayout(t *testing.T) {
	if got := int(unsafe.Sizeof(tracingEvent{})); got != event.Size {
		t.Fatalf("struct event has %d bytes, package event decodes %d", got, event.Size)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		w := tracingEvent{
			Time: r.Uint64() >> 1, Queued: uint64(r.Int64N(1 << 50)), Listener: r.Uint64(), Cookie: r.Uint64(),
			LocalPort: uint16(r.Uint32()), PeerPort: uint16(r.Uint32()), Netns: r.Uint32(), Ifindex: r.Uint32(),
			Depth: r.Uint32(), DepthAtEntry: r.Uint32(), Backlog: r.Uint32(), Unread: r.Uint32(),
			Pid: r.Uint32(), Tid: r.Uint32(), Inode: r.Uint32(), Error: uint16(r.Uint32()),
			Kind: uint8(1 + r.IntN(9)), Family: unix.AF_INET6, State: uint8(1 + r.IntN(12)), Flags: uint8(r.IntN(64)),
		}
		for i := range 16 {
			w.LocalAddr[i], w.PeerAddr[i] = uint8(r.Uint32()), uint8(r.Uint32())
			w.Comm[i] = int8(r.Uint32() | 1) // what follows a NUL is not decoded
		}
		var e event.Event
		if err := event.Decode(unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w)), &e); err != nil {
			t.Fatal(err)
		}
		want := event.Event{
			Time: int64(w.Time), Queued: int64(w.Queued) * 1000, ListenerID: w.Listener, Cookie: w.Cookie,
			Local: netip.AddrPortFrom(netip.AddrFrom16(w.LocalAddr).Unmap(), w.LocalPort),
			Peer:  netip.AddrPortFrom(netip.AddrFrom16(w.PeerAddr).Unmap(), w.PeerPort),
			NetNS: w.Netns, Ifindex: w.Ifindex, Depth: w.Depth, DepthAtEntry: w.DepthAtEntry,
			Backlog: w.Backlog, Unread: w.Unread, PID: w.Pid, TID: w.Tid, Inode: w.Inode,
			Flags: event.Flags(w.Flags), Errno: w.Error, Kind: event.Kind(w.Kind), Family: w.Family, State: event.State(w.State),
		}
		if want.Kind == event.AcceptError {
			want.FD, want.Repeats = int32(want.DepthAtEntry), want.Unread
			want.DepthAtEntry, want.Unread = 0, 0
		}
		for i, c := range w.Comm {
			want.Comm[i] = byte(c)
		}
		if e != want {
			t.Fatalf("decoded %+v, want %+v", e, want)
		}
	}
}

// The numbers that C and Go both name are the same.
func TestWireNumbers(t *testing.T) {
	kinds := map[tracingEventKind]event.Kind{
		tracingEventKindEVENT_ACCEPTED: event.Accepted, tracingEventKindEVENT_CLOSE_WAIT: event.CloseWait,
		tracingEventKindEVENT_RESET: event.Reset, tracingEventKindEVENT_PURGED: event.Purged,
		tracingEventKindEVENT_LISTENER: event.Listener, tracingEventKindEVENT_QUEUED: event.Queued,
		tracingEventKindEVENT_LISTENER_CLOSED: event.ListenerClosed,
		tracingEventKindEVENT_OVERFLOW:        event.Overflow, tracingEventKindEVENT_ACCEPT_ERROR: event.AcceptError,
	}
	for c, g := range kinds {
		if uint32(c) != uint32(g) {
			t.Errorf("kind %s is %d in C", g, c)
		}
	}
	flags := map[tracingEventFlag]event.Flags{
		tracingEventFlagEVENT_FLAG_EXIT_UNSEEN: event.ExitUnseen,
		tracingEventFlagEVENT_FLAG_WALK_CUT:    event.WalkCut,
		tracingEventFlagEVENT_FLAG_AFTER_FIN:   event.AfterFIN,
		tracingEventFlagEVENT_FLAG_V6ONLY:      event.V6Only,
		tracingEventFlagEVENT_FLAG_LAST_ACK:    event.LastACK,
		tracingEventFlagEVENT_FLAG_ABORTED:     event.Aborted,
	}
	for c, g := range flags {
		if uint32(c) != uint32(g) {
			t.Errorf("flag %#x is %#x in C", g, c)
		}
	}
}
