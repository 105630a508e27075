package report

import (
	"bytes"
	"io"
	"math"
	"net/netip"
	"os"
	"testing"

	"acceptwatch/internal/event"
	"acceptwatch/internal/recording"
)

// overfull is a trace of queues whose depths and backlogs add up to more than
// there are numbers for.
func overfull(tb testing.TB) []byte {
	var b bytes.Buffer
	s := newStory(tb, &b, header())
	for at := range 4 * second / ms {
		s.now = began + at*ms
		for id := range uint64(2) {
			s.write(event.Event{Kind: event.Overflow, Time: s.now, ListenerID: id + 1, NetNS: netns, Family: 2,
				Local: netip.MustParseAddrPort("192.0.2.1:8000"), Depth: 1 << 31, Backlog: math.MaxUint32})
			if at == 0 {
				s.write(event.Event{Kind: event.Listener, Time: s.now, ListenerID: id + 1, NetNS: netns, Family: 2,
					Local: netip.MustParseAddrPort("192.0.2.1:8000"), Depth: 1 << 31, Backlog: math.MaxUint32, State: event.Listening})
			}
		}
	}
	s.close()
	return b.Bytes()
}

// Whatever a file says, there is a report of any part of it, or an error.
func FuzzReport(f *testing.F) {
	spans := [][2]int64{{math.MinInt64, math.MaxInt64}, {began + second, began + 3*second}, {0, began + 100}}
	for _, span := range spans {
		f.Add(overfull(f), span[0], span[1])
		for _, path := range []string{"../recording/testdata/v1.0.trace", "../recording/testdata/v1.1.trace", "../recording/testdata/v1.2.trace"} {
			golden, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(golden, span[0], span[1])
		}
	}
	f.Fuzz(func(t *testing.T, trace []byte, from, to int64) {
		r, err := recording.NewReader(bytes.NewReader(trace))
		if err != nil {
			return
		}
		o := Options{Span: func(int64, *recording.Header) (int64, int64, error) { return from, to, nil }}
		_ = Each(r, o, func(rep *Report) error {
			if err := WriteText(io.Discard, rep, TextOptions{}); err != nil {
				t.Error(err)
			}
			if err := WriteJSON(io.Discard, rep); err != nil {
				t.Error(err)
			}
			return nil
		})
	})
}
