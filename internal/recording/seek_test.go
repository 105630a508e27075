package recording

import (
	"acceptwatch/internal/event"
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestSeekTimeGivesAllFromThere(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, header(), Options{BlockEvents: 300})
	if err != nil {
		t.Fatal(err)
	}
	all := traffic(3, 60_000, 2_000) // 30 s
	sampled := int64(0)
	for i := range all {
		if err := w.WriteEvent(&all[i]); err != nil {
			t.Fatal(err)
		}
		if e := &all[i]; e.Time-sampled > second/5 {
			sampled = e.Time
			if err := w.WriteSample(sampleOf(all[i:i+1], e.Time, true), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := b.Bytes()
	frames := framesOfOnly(t, file)
	index := frames[len(frames)-2]
	damaged := slices.Clone(file)
	damaged[index.offset+headSize+4] ^= 1
	whole, _, err := readAll(t, file)
	if err != nil {
		t.Fatal(err)
	}
	begin := all[0].Time
	for name, file := range map[string][]byte{
		"index":         file,
		"no end":        file[:index.offset],
		"damaged index": damaged,
		"joined":        slices.Concat(file[:frames[1].offset], file),
	} {
		for _, at := range []int64{0, begin, begin + 7*second, begin + 7*second/2, begin + 29*second, begin + 100*second} {
			r, err := NewReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				r.Next()
			}
			if err := r.SeekTime(at); err != nil {
				t.Fatalf("%s: seek to %d: %v", name, at, err)
			}
			var got []entry
			for rec := range r.All() {
				switch rec.Kind {
				case KindDamage:
					if name != "damaged index" || rec.Damage.Offset != index.offset {
						t.Errorf("%s, from %d on: %v", name, at, rec.Damage)
					}
				case KindHeader:
				default:
					rec := *rec
					got = append(got, entryOf(&rec))
				}
			}
			wanted := slices.IndexFunc(whole, func(e entry) bool {
				return e.event != nil && e.event.Time >= at || e.sample != nil && e.sample.Time >= at
			})
			if wanted < 0 {
				wanted = len(whole)
			}
			more := len(got) - (len(whole) - wanted)
			if more < 0 {
				t.Fatalf("%s: from %d on: %d entries are missing", name, at, -more)
			}
			check(t, whole[len(whole)-len(got):], got)
			if limit := 7 * 2_000 * 6 / 5; more > limit {
				t.Errorf("%s: from %d on: read %d entries of before, want 7 s of them at most", name, at, more)
			}
		}
	}
	if r, err := NewReader(&failing{bytes.NewReader(file), errors.New("x")}); err != nil || !errors.Is(r.SeekTime(0), ErrNoSeek) {
		t.Error("went to another place in a source that cannot seek")
	}
}

func TestIndexOfALongTraceIsThinnedOut(t *testing.T) {
	var x index
	for i := range int64(10 * mostIndexed) {
		x.add(1000+i*100, i*5)
		if len(x.places) > mostIndexed {
			t.Fatalf("%d places", len(x.places))
		}
	}
	places, ok := parseIndex(x.append(nil, 1<<30), 1<<30)
	if !ok || !slices.Equal(places, x.places) {
		t.Fatalf("read %d places, wrote %d", len(places), len(x.places))
	}
	if len(places) < mostIndexed/2 {
		t.Errorf("only %d places", len(places))
	}
	apart := places[1].offset - places[0].offset
	for i := 1; i < len(places); i++ {
		if p := places[i]; p.offset-places[i-1].offset != apart || p.time != (p.offset-1000)/20 {
			t.Fatalf("place %d: %v, after %v", i, p, places[i-1])
		}
	}
	if end := places[len(places)-1].offset; end < 1000+100*(10*mostIndexed)-2*apart {
		t.Errorf("last place is %d", end)
	}
}

// counting counts the bytes that are read.
type counting struct {
	*bytes.Reader
	n int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

// hour is a trace of an hour, with a key every 5 s.
func hour(t *testing.T) (file []byte, all []event.Event) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, header(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	all = traffic(3, 720_000, 200)
	for i := range all {
		if err := w.WriteEvent(&all[i]); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			if err := w.WriteSample(sampleOf(all[i:i+1], all[i].Time, true), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), all
}

// With the index at its end, hardly anything of a trace is read but what is asked
// for.
func TestSeekTimeReadsLittle(t *testing.T) {
	file, all := hour(t)
	for name, test := range map[string]struct {
		file []byte
		most int
	}{
		"index":    {file, 7*readAtOnce + len(file)*15/3600},
		"no index": {file[:len(file)-endSize], len(file) * 6 / 10},
	} {
		src := &counting{Reader: bytes.NewReader(test.file)}
		r, err := NewReader(src)
		if err != nil {
			t.Fatal(err)
		}
		src.n = 0
		at := all[len(all)/2].Time
		if err := r.SeekTime(at); err != nil {
			t.Fatal(err)
		}
		got := int64(0)
		for got < at && r.Next() {
			got, _ = r.Record().Time()
		}
		if got < at || src.n > test.most {
			t.Errorf("%s: read %d of %d bytes, want at most %d, to find %d after %d", name, src.n, len(file), test.most, got, at)
		}
	}
}

// What follows in the same file has clocks of its own.
func TestSeekTimeStaysInItsTrace(t *testing.T) {
	first, all := hour(t)
	second, _ := small(t)
	at, last := all[len(all)*5/6].Time, 0
	for i := range all { // they are not quite in the order of their times
		if all[i].Time >= at {
			last++
		}
	}
	for name, file := range map[string][]byte{
		"first":  slices.Concat(first, second),
		"second": slices.Concat(second, first),
	} {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 2 && name == "second"; {
			if r.Next(); r.Record().Kind == KindHeader {
				n++
			}
		}
		if err := r.SeekTime(at); err != nil {
			t.Fatal(err)
		}
		events := 0
		for r.Next() && r.Record().Kind != KindHeader {
			if rec := r.Record(); rec.Kind == KindEvent && rec.Event.Time >= at {
				events++
			}
		}
		if events != last || (name == "first") != (r.Record().Kind == KindHeader) {
			t.Errorf("%s: %d events, then a record of kind %d", name, events, r.Record().Kind)
		}
	}
}
