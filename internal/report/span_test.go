package report

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// A dump of a flight recorder tells of what is in it, though its samples count
// since long before.
func TestPartialTraceIsCountedFromItsBeginning(t *testing.T) {
	h := header()
	h.Settings = map[string]string{recording.SettingFlight: "1m"}
	var b bytes.Buffer
	w, err := recording.NewWriter(&b, h, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := listener.Key{NetNS: netns, Addr: netip.MustParseAddrPort("192.0.2.1:8000")}
	from := began + 60*second
	const dead = 3 // since before
	walked := event.Event{Kind: event.Listener, Time: from, ListenerID: 1, Local: key.Addr, NetNS: netns, Family: 2,
		State: event.Listening, Depth: dead, Backlog: 128}
	if err := w.WriteEvent(&walked); err != nil {
		t.Fatal(err)
	}
	for i := range dead {
		e := walked
		e.Kind, e.Depth, e.State, e.Queued = event.Queued, uint32(i+1), event.CloseWaited, began+10*second
		e.Peer = netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(40000+i))
		if err := w.WriteEvent(&e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		waits := new(listener.Histogram)
		for range 1000 + 10*i {
			waits.Add(time.Millisecond)
		}
		s := listener.Sample{Time: from + int64(i)*second, Listeners: []listener.Counted{{
			ID: 1, Key: key, Family: 2, Backlog: 128, Depth: dead, MaxDepth: dead,
			Enqueued: dead + waits.Count(), Accepted: waits.Count(), LastAccept: from + int64(i)*second, Waits: waits,
		}}, Addresses: []listener.AtAddress{{Key: key, CloseWait: dead}}}
		if err := w.WriteSample(&s, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := read(t, b.Bytes())
	if sum := r.Sum(); sum.Accepted != 90 || sum.Waits.Count() != 90 {
		t.Errorf("%d accepted, %d waits, want 90", sum.Accepted, sum.Waits.Count())
	}
	l := &r.Listeners[0]
	if l.Dead() != 0 || l.DeadAtAttach != dead || r.Patience.Late != 0 || r.Events != 0 {
		t.Errorf("%d died, and %d before; %d noticed late in %d events", l.Dead(), l.DeadAtAttach, r.Patience.Late, r.Events)
	}
}
