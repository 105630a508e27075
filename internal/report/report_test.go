package report

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/recording"
)

func TestIncidentAsText(t *testing.T) {
	var b bytes.Buffer
	if err := WriteText(&b, read(t, incident(t)), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "incident.txt", b.Bytes())
}

func TestIncidentAsJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, read(t, incident(t))); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "incident.jsonl", b.Bytes())
}

// What a report counts is what the story did.
func TestIncidentIsCountedWhole(t *testing.T) {
	r := read(t, incident(t))
	if len(r.Listeners) != 3 || r.StallCount != 1 || len(r.Stalls) != 1 {
		t.Fatalf("%d listeners, %d stalls", len(r.Listeners), r.StallCount)
	}
	web := &r.Listeners[0]
	s := &r.Stalls[0]
	if s.Key != web.Key || s.Dead != web.Dead() || s.Overflow != web.Overflow() || s.Failed != web.Failed() ||
		s.Length() != 70*time.Second || s.Ended != event.EndedByAccept || s.Depth != 3000 {
		t.Errorf("stall %+v of %d dead, %d refused, %d failed", s, web.Dead(), web.Overflow(), web.Failed())
	}
	var sum Column
	var waits uint64
	for i := range r.Total.Columns {
		sum.merge(&r.Total.Columns[i])
		for _, n := range r.Total.Columns[i].Waits.All() {
			waits += uint64(n)
		}
	}
	all := r.Sum()
	if uint64(sum.Accepted) != all.Accepted || uint64(sum.Dead) != all.Dead || uint64(sum.Overflow) != all.Overflow ||
		sum.Failed != all.Failed || waits != all.Accepted || all.Recorded != all.Accepted {
		t.Errorf("columns sum up to %+v, listeners to %+v", sum, all)
	}
	if c := r.Patience.Clusters; len(c) != 1 || c[0].Mean < 5*time.Second || c[0].Mean > 5040*time.Millisecond || c[0].Share < 0.9 {
		t.Errorf("clients with a timeout of 5 s: %+v", c)
	}
	if r.Patience.Known != all.Dead {
		t.Errorf("the patience of %d of %d is known", r.Patience.Known, all.Dead)
	}
	if w := r.Longest[0]; w.Length != web.Wait.Max || w.Listener != web.Key {
		t.Errorf("longest wait %+v, want %v", w, web.Wait.Max)
	}
}

// A trace that was cut, or damaged, is reported as far as it can be read.
func TestCutTraceIsReported(t *testing.T) {
	trace := incident(t)
	r := read(t, trace[:len(trace)/2])
	if r.Flaws.Torn == nil || len(r.Listeners) == 0 || r.Events == 0 {
		t.Errorf("torn %v, %d listeners, %d events", r.Flaws.Torn, len(r.Listeners), r.Events)
	}
	if len(r.Stalls) != 1 || r.Stalls[0].Ended != event.NotEnded || r.Stalls[0].To != r.End {
		t.Errorf("a stall that goes on at the end: %+v", r.Stalls)
	}
	if l := &r.Listeners[0]; !l.OwnWaits || l.Wait.Count == 0 {
		t.Errorf("waits without a last sample: %+v", l.Wait)
	}
	damaged := bytes.Clone(trace)
	for i := range 64 {
		damaged[len(damaged)/2+i] ^= 0x55
	}
	if r := read(t, damaged); r.Flaws.Damages == 0 || r.Flaws.Torn != nil || len(r.Listeners) != 3 {
		t.Errorf("flaws %+v of a damaged trace", r.Flaws)
	}
}

// A recorder that was killed at once leaves a header alone.
func TestARecordingOfNothingTellsWhenItWasMade(t *testing.T) {
	var b bytes.Buffer
	h := header()
	h.Clock.Monotonic += 3 * second
	w, err := recording.NewWriter(&b, h, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Clone(b.Bytes())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, trace := range map[string][]byte{"torn": torn, "whole": b.Bytes()} {
		r := read(t, trace)
		if at := r.At(r.Start); !at.Equal(time.Unix(0, h.Clock.Wall)) || r.End != r.Start {
			t.Errorf("%s: it begins at %s and is %s long", name, at, r.Length())
		}
		if v := r.Verdict(time.UTC); v.Headline != "The recording ends before anything was written." || v.Bad {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// Joined traces of different recordings are different reports; the parts of one
// are one.
func TestJoinedTraces(t *testing.T) {
	part := func(start int64, n int) []byte {
		var b bytes.Buffer
		h := header()
		h.Start, h.Part = start, n
		s := newStory(t, &b, h)
		s.now += int64(n) * second
		l := s.listen("127.0.0.1:8000", 128, 1, "server")
		s.walk()
		s.enter(l)
		s.now += ms
		s.accept(l)
		s.close()
		return b.Bytes()
	}
	for _, test := range []struct {
		name          string
		first, second []byte
		reports       int
	}{
		{"parts of one", part(began, 1), part(began, 2), 1},
		{"two recordings", part(began, 1), part(began+1, 1), 2},
		{"the same twice", part(began, 1), part(began, 1), 2},
	} {
		r, err := recording.NewReader(bytes.NewReader(append(bytes.Clone(test.first), test.second...)))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var events uint64
		err = Each(r, Options{}, func(r *Report) error { n++; events += r.Events; return nil })
		if err != nil || n != test.reports || events != 2 {
			t.Errorf("%s: %d reports of %d events, %v", test.name, n, events, err)
		}
		stop := errors.New("stop")
		if r, err = recording.NewReader(bytes.NewReader(test.first)); err != nil {
			t.Fatal(err)
		}
		if err := Each(r, Options{}, func(*Report) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("error of the caller: %v", err)
		}
	}
}

// Columns become wider, and lose nothing.
func TestColumnsAreMerged(t *testing.T) {
	a := newAxis(began)
	for _, test := range []struct{ at, width int64 }{
		{began, int64(narrowest)},
		{began + 60*second, second / 2},
		{began + 120*second, second},
		{began + 199*second, second},
		{began + 200*second, 2 * second},
	} {
		before := a.width
		if factor := a.widen(test.at); a.width != before*int64(factor) || a.at(test.at) >= maxColumns {
			t.Errorf("factor %d from %v to %v", factor, time.Duration(before), time.Duration(a.width))
		}
		if want := test.width; a.width != want {
			t.Errorf("at %v: columns of %v, want %v", time.Duration(test.at-began), time.Duration(a.width), time.Duration(want))
		}
	}
	var s series
	for i := range 10 {
		s.set(i, uint32(i), 10)
		s.to(i).Accepted = 1
		s.to(i).Waits.add(time.Duration(i) * time.Millisecond)
	}
	s.merge(4)
	if len(s.columns) != 3 || s.columns[0].Accepted != 4 || s.columns[2].Accepted != 2 || s.columns[1].Depth != 7 ||
		s.columns[1].Waits.Max != 7*time.Millisecond {
		t.Errorf("%+v", s.columns)
	}
}

func TestQuantilesOfColumnsAreAsPreciseAsTheySay(t *testing.T) {
	for wait := time.Duration(0); wait < time.Hour; wait = wait*11/10 + time.Microsecond {
		var w Waits
		w.add(wait)
		w.add(2 * time.Hour)
		got := w.Quantile(0.5)
		if off := max(got-wait, wait-got); off > max(4*time.Microsecond, wait*12/100) {
			t.Fatalf("%v for %v", got, wait)
		}
	}
}

func TestClustersOfPatience(t *testing.T) {
	var p patience
	for i := range 100 {
		p.add(5*time.Second + time.Duration(i)*time.Millisecond)
		if i%2 == 0 {
			p.add(30*time.Second + time.Duration(i)*time.Millisecond)
		}
		if i%10 == 0 {
			p.add(time.Duration(i+1) * 40 * time.Millisecond)
		}
	}
	got := p.result()
	if len(got.Clusters) != 2 || got.Known != 160 {
		t.Fatalf("%+v", got)
	}
	if c := got.Clusters[0]; c.Count != 100 || c.Mean != 5049500*time.Microsecond {
		t.Errorf("%+v", c)
	}
	if c := got.Clusters[1]; c.Count != 50 || c.Mean != 30049*time.Millisecond {
		t.Errorf("%+v", c)
	}
}

// Times of a short recording have milliseconds, and names tell who shares them.
func TestCellsStandUnderTheirTitles(t *testing.T) {
	var b bytes.Buffer
	s := newStory(t, &b, header())
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	s.listen("192.0.2.1:8000", 128, 4712, "gunicorn")
	api := s.listen("192.0.2.1:80", 128, 33, "nginx")
	s.walk()
	s.enter(web)
	s.enter(api)
	for range 10 {
		s.now += 250 * ms
		s.sample(false)
	}
	s.accept(web)
	s.accept(api)
	s.close()
	var out bytes.Buffer
	if err := WriteText(&out, read(t, b.Bytes()), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "short.txt", out.Bytes())
	lines := strings.Split(out.String(), "\n")
	for _, title := range []string{"LISTENER", "PEER", "TO  "} {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, title) })
		at := strings.Index(lines[i], title)
		for _, l := range lines[i+1 : i+3] {
			if l[at-1] != ' ' || l[at] == ' ' {
				t.Errorf("%s: not under its title: %q", title, l)
			}
		}
	}
}
