package report

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
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

// readSpan makes the reports of a part of a trace, in ns of CLOCK_MONOTONIC.
func readSpan(tb testing.TB, trace []byte, from, to int64) (got []*Report, err error) {
	tb.Helper()
	r, err := recording.NewReader(bytes.NewReader(trace))
	if err != nil {
		tb.Fatal(err)
	}
	span := func(int64, *recording.Header) (int64, int64, error) { return from, to, nil }
	err = Each(r, Options{Span: span}, func(rep *Report) error { got = append(got, rep); return nil })
	return got, err
}

// What was deeper before a part of a recording says nothing of that part.
func TestDeepestQueueIsThatOfThePart(t *testing.T) {
	var b bytes.Buffer
	s := newStory(t, &b, header())
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	s.walk()
	for _, deep := range []int{100, 0, 50} {
		for range deep {
			s.now += ms
			s.enter(web)
		}
		s.now += ms
		s.sample(false)
		for range deep {
			s.accept(web)
		}
		s.now += ms
		s.sample(false)
		s.now += 10 * second
	}
	s.close()
	for from, want := range map[int64]uint32{began: 100, began + second: 50, began + 25*second: 0} {
		reports, err := readSpan(t, b.Bytes(), from, s.now+1)
		if err != nil || len(reports) != 1 {
			t.Fatalf("%d reports, %v", len(reports), err)
		}
		if l := &reports[0].Listeners[0]; l.MaxDepth != want || l.MaxDepthUnknown || want > 0 && l.MaxDepthBacklog != 128 {
			t.Errorf("from %d: depth %d of %d, not known: %t; want %d", from-began, l.MaxDepth, l.MaxDepthBacklog, l.MaxDepthUnknown, want)
		}
	}
}

// Of a stall that goes on after --until, nobody knows from this report how it
// was at the end of the recording.
func TestStallThatGoesOnAfterThePart(t *testing.T) {
	var b bytes.Buffer
	s := newStory(t, &b, header())
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	s.walk()
	s.enter(web)
	for range 50 {
		s.now += 200 * ms
		s.sample(false)
	}
	s.close()
	for to, want := range map[int64]string{
		began + 5*second: "It went on at the end of this part of the recording.",
		math.MaxInt64:    "It went on at the end of the recording.",
	} {
		reports, err := readSpan(t, b.Bytes(), began, to)
		if err != nil || len(reports) != 1 {
			t.Fatalf("%d reports, %v", len(reports), err)
		}
		if v := reports[0].Verdict(time.UTC); !strings.HasSuffix(v.Findings[0].Text, want) {
			t.Errorf("%q, want %q", v.Findings[0].Text, want)
		}
	}
}

// A span need not be in all of the recordings that were joined. That it is in
// none is not said when not all was read.
func TestSpanInSomeOfTheRecordings(t *testing.T) {
	recorded := func(start, length int64) []byte {
		var b bytes.Buffer
		h := header()
		h.Start = start
		s := newStory(t, &b, h)
		s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
		for s.now < began+length {
			s.walk()
			s.now += second
		}
		s.close()
		return b.Bytes()
	}
	long, short := recorded(began, 40*second), recorded(began+1, 10*second)
	broken := errors.New("broken disk")
	for _, test := range []struct {
		name    string
		trace   io.Reader
		reports int
		err     error
	}{
		{"in the first", io.MultiReader(bytes.NewReader(long), bytes.NewReader(short)), 1, nil},
		{"in the second", io.MultiReader(bytes.NewReader(short), bytes.NewReader(long)), 1, nil},
		{"in none", io.MultiReader(bytes.NewReader(short), bytes.NewReader(short)), 0, ErrAfterEnd},
		{"in a torn one", bytes.NewReader(short[:len(short)-10]), 0, ErrAfterEnd},
		{"not read", io.MultiReader(bytes.NewReader(short[:len(short)-10]), iotest.ErrReader(broken)), 0, broken},
	} {
		r, err := recording.NewReader(test.trace)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		span := func(int64, *recording.Header) (int64, int64, error) { return began + 20*second, math.MaxInt64, nil }
		err = Each(r, Options{Span: span}, func(*Report) error { n++; return nil })
		if n != test.reports || !errors.Is(err, test.err) || errors.Is(err, ErrAfterEnd) != (test.err == ErrAfterEnd) {
			t.Errorf("%s: %d reports, %v", test.name, n, err)
		}
	}
}
