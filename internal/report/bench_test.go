package report

import (
	"bufio"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// busy writes a trace of n accepted connections at so many listeners, at 100,000
// a second: waits of which half are below 300 µs, one in a hundred connections
// with a client that is gone, and a sample every 0.2 s.
func busy(tb testing.TB, w io.Writer, listeners, n int) {
	t, err := recording.NewWriter(w, header(), recording.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(n), uint64(listeners)))
	sample := listener.Sample{Time: began, Listeners: make([]listener.Counted, listeners)}
	for i := range sample.Listeners {
		sample.Listeners[i] = listener.Counted{ID: uint64(i + 1), Family: 2, Backlog: 511,
			Key: listener.Key{NetNS: netns, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 200)}), uint16(8000+i))}}
	}
	if err := t.WriteSample(&sample, false); err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		at := began + int64(i)*10_000
		l := &sample.Listeners[r.IntN(listeners)]
		wait := int64(math.Exp(math.Log(300e3) + 1.5*r.NormFloat64()))
		e := event.Event{
			Kind: event.Accepted, Time: at, Queued: (at - wait) / 1000 * 1000, ListenerID: l.ID, NetNS: netns, Local: l.Key.Addr,
			Peer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(r.Uint32()), byte(r.Uint32())}), uint16(32768+r.IntN(28000))),
			Depth: r.Uint32N(4), Backlog: 511, PID: 1000 + uint32(l.ID), TID: 1000 + uint32(l.ID), Comm: comm("worker"),
			Family: 2, State: event.Established,
		}
		if r.IntN(100) == 0 {
			e.State = event.CloseWaited
			dead := e
			dead.Kind, dead.ListenerID, dead.Depth, dead.PID, dead.TID, dead.Comm = event.CloseWait, 0, e.Depth+1, 0, 0, event.Comm{}
			dead.Time -= min(wait/2, 1_000_000)
			if err := t.WriteEvent(&dead); err != nil {
				tb.Fatal(err)
			}
			l.AcceptedCloseWait++
		}
		if err := t.WriteEvent(&e); err != nil {
			tb.Fatal(err)
		}
		l.Enqueued++
		l.Accepted++
		l.Depth, l.LastAccept = e.Depth, at
		l.MaxDepth = max(l.MaxDepth, e.Depth+1)
		if sample.Time = at; i%20_000 == 0 {
			if err := t.WriteSample(&sample, false); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := t.Close(); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkReport reads ten million events at a thousand listeners. peak-MB is
// the most memory that the process had meanwhile, as the runtime counts it, and
// cpu-s the processor time that it took, which a busy machine changes less than
// the time on the clock.
func BenchmarkReport(b *testing.B) {
	const events, listeners = 10_000_000, 1000
	path := filepath.Join(b.TempDir(), "trace")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriterSize(f, 1<<20)
	busy(b, out, listeners, events)
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	for b.Loop() {
		b.StopTimer()
		debug.FreeOSMemory()
		peak, used := watchMemory(), cpuTime(b)
		b.StartTimer()
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		r, err := recording.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		var got *Report
		if err := Each(r, Options{}, func(rep *Report) error { got = rep; return nil }); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		b.ReportMetric((cpuTime(b) - used).Seconds(), "cpu-s")
		b.ReportMetric(float64(peak())/1e6, "peak-MB")
		if sum := got.Sum(); len(got.Listeners) != listeners || sum.Recorded != events {
			b.Fatalf("%d listeners, %d events", len(got.Listeners), sum.Recorded)
		}
		f.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}

// cpuTime is what this process has used.
func cpuTime(tb testing.TB) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// watchMemory looks at the memory of this process every few milliseconds, until
// the function that it returns is called, which gives the most, in bytes.
func watchMemory() func() uint64 {
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		all := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		var most uint64
		for {
			metrics.Read(all)
			most = max(most, all[0].Value.Uint64()-all[1].Value.Uint64())
			select {
			case <-stop:
				result <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		runtime.Gosched()
		return <-result
	}
}
