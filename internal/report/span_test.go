package report

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

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
	for i := range 10 {
		waits := new(listener.Histogram)
		for range 1000 + 10*i {
			waits.Add(time.Millisecond)
		}
		s := listener.Sample{Time: began + int64(i)*second, Listeners: []listener.Counted{{
			ID: 1, Key: key, Family: 2, Backlog: 128, Enqueued: waits.Count(), Accepted: waits.Count(), Waits: waits,
		}}}
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
}
