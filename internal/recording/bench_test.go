package recording

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

func header() *Header {
	return &Header{Tool: "test", Mode: "fentry", Clock: Clock{Monotonic: 99 * second, Wall: 1_700_000_000 * second}}
}

func encode(t testing.TB, all []event.Event, opt Options) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, header(), opt)
	if err != nil {
		t.Fatal(err)
	}
	sampled := all[0].Time
	for i := range all {
		if err := w.WriteEvent(&all[i]); err != nil {
			t.Fatal(err)
		}
		if e := &all[i]; e.Time-sampled >= second/5 {
			sampled = e.Time
			if err := w.WriteSample(sampleOf(all[max(0, i-5000):i+1], e.Time, false), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBytesPerAcceptedConnection(t *testing.T) {
	for _, perSecond := range []float64{100_000, 20_000, 1_000} {
		t.Run(fmt.Sprintf("%.0f a second", perSecond), func(t *testing.T) {
			all := traffic(7, 100_000, perSecond)
			b := encode(t, all, Options{})
			per := float64(len(b)) / float64(len(all))
			t.Logf("%.2f bytes", per)
			if per > 16 {
				t.Errorf("%.2f bytes per accepted connection, want 16 at most", per)
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	all := traffic(8, 1<<16, 20_000)
	span := all[len(all)-1].Time - all[0].Time + 1
	w, err := NewWriter(io.Discard, header(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e := &all[i]
		if err := w.WriteEvent(e); err != nil {
			b.Fatal(err)
		}
		e.Time += span
		e.Queued += span / 1000 * 1000
		if i++; i == len(all) {
			i = 0
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(w.Size())/float64(b.N), "bytes/event")
}

func BenchmarkReadApply(b *testing.B) {
	file := encode(b, traffic(9, 1<<18, 20_000), Options{})
	b.ReportAllocs()
	b.SetBytes(int64(len(file)))
	n := 0
	for b.Loop() {
		table := listener.New(listener.Options{})
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		for r.Next() {
			switch rec := r.Record(); rec.Kind {
			case KindEvent:
				table.Apply(rec.Event, nil)
				n++
			case KindSample:
				table.Update(rec.Sample, nil)
			}
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
