package top

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// Listeners at one address, each for another device, are told apart by their
// sockets; where these are not known, what is found is of all of them.
func TestDiagnosisOfAListenerOfADevice(t *testing.T) {
	var all []ui.Listener
	for i := range uint32(3) {
		key := listener.Key{NetNS: netns, Addr: netip.MustParseAddrPort("10.0.0.1:80"), Ifindex: i}
		all = append(all, ui.Listener{Row: listener.Row{Key: key, Inode: 100 + i, Open: 1, Time: began}})
	}
	all[2].Members = []listener.Row{{Inode: 112}, {Inode: 122}}
	for _, test := range []struct {
		inode uint32
		want  string // of which devices
	}{{100, "0"}, {101, "1"}, {122, "2"}, {0, "012"}, {9, "012"}} {
		m := New(Options{})
		m.Begin(about())
		m.Take(&State{Time: began, Listeners: all})
		m.Diagnosed(&ui.Diagnosis{Evidence: &diagnose.Evidence{Listener: "10.0.0.1:80", NetNS: netns, Inode: test.inode}})
		got := ""
		for _, p := range m.board.places {
			if p.diagnosis != nil {
				got += fmt.Sprint(p.name.Key.Ifindex)
			}
		}
		if got != test.want {
			t.Errorf("socket %d: of devices %q, want %q", test.inode, got, test.want)
		}
	}
}

// The waits of a histogram that listeners share are of none of them.
func TestSharedWaitsAreOfNoListener(t *testing.T) {
	for _, shared := range []bool{false, true} {
		m := New(Options{})
		m.Begin(about())
		h := &listener.Histogram{}
		for s := range int64(3) {
			h = h.Clone()
			h.Add(time.Second)
			all := []ui.Listener{{Row: listener.Row{
				Key: listener.Key{NetNS: netns, Addr: netip.MustParseAddrPort("10.0.0.1:80")}, Open: 1, Time: began + s*second,
				Accepted: uint64(s), Folded: shared, Wait: listener.Waits{Count: h.Count(), P50: time.Second, Histogram: h, Shared: shared},
			}}}
			m.Take(&State{Time: began + s*second, Listeners: all})
		}
		p := m.board.places[0]
		if got := p.interval.Count != 0; got == shared {
			t.Errorf("shared %t: %d waits of the last interval", shared, p.interval.Count)
		}
		if p.rate != 1 {
			t.Errorf("shared %t: %v are accepted a second", shared, p.rate)
		}
	}
}

func TestSpeedsAreWrittenOut(t *testing.T) {
	for speed, want := range map[float64]string{1.0 / 8: "playing 0.125x", 1: "playing 1x", 1024: "playing 1024x"} {
		a := about()
		line := (&Tape{From: began, At: began, Speed: speed}).line(&a, 80)
		if got := (Frame{line}).String(); !strings.HasPrefix(got, want+" ") {
			t.Errorf("%v: %q", speed, got)
		}
	}
}
