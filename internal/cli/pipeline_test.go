package cli

import (
	"io"
	"testing"

	"acceptwatch/internal/recording"
)

// On the way of an accepted connection from the ring to a line, to JSON and into a
// recording, nothing is allocated: 200,000 a second would keep the collector busy.
// Dead ones, two of a thousand, have sentences made for them.
func TestTheHotPathDoesNotAllocate(t *testing.T) {
	for _, test := range []struct {
		name   string
		json   bool
		record bool
	}{{"text", false, false}, {"json", true, false}, {"text and a recording", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			src := newRingSource(200_000)
			a := src.app(io.Discard)
			clock := newWallClock(&a.env)
			o := traceOptions{json: test.json}
			l := newLive(a, src, &o, a.traceView(&o, clock, a.env.now), clock)
			if test.record {
				w, err := recording.NewWriter(io.Discard, headerOf(l, sourceOptions{}), recording.Options{})
				if err != nil {
					t.Fatal(err)
				}
				l.record(&tape{to: w})
			}
			if err := l.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			read := func() {
				if err := src.Read(l.apply); err != nil {
					t.Fatal(err)
				}
				if err := l.view.flush(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 * readsASecond { // every buffer has its size then
				read()
			}
			events := float64(src.rate / readsASecond)
			if n := testing.AllocsPerRun(20, read); n > events/50 {
				t.Errorf("%.0f allocations for %.0f events", n, events)
			}
		})
	}
}
