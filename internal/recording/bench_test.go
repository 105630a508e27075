package recording

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// cpu is the processor time that this process has used. Benchmarks tell it too,
// since the time of a machine that others use says little.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report tells how fast n events were, begun at a processor time.
func report(b *testing.B, n int, begun time.Duration) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(n)/(cpu(b)-begun).Seconds(), "events/cpu-s")
}

func BenchmarkWrite(b *testing.B) {
	all := traffic(8, 1<<16, 20_000)
	span := all[len(all)-1].Time - all[0].Time + 1
	w, err := NewWriter(io.Discard, header(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	begun := cpu(b)
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
	report(b, b.N, begun)
	b.ReportMetric(float64(w.Size())/float64(b.N), "bytes/event")
}

func BenchmarkReadApply(b *testing.B) {
	file := encode(b, traffic(9, 1<<18, 20_000), Options{})
	b.ReportAllocs()
	b.SetBytes(int64(len(file)))
	begun := cpu(b)
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
	report(b, n, begun)
}
