package cli

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// What user space costs, from the bytes of the ring buffer to what is written,
// by connections a second. An iteration is a second of the traced host: with
// what is done for each event, and each 50 ms, 200 ms, second and 5 s. The
// second itself does not pass, so a CPU that others use too gives the same.
//
//	cpu-ns/event  processor time of the whole process, its garbage collector too
//	cores         of processor time in that second
func BenchmarkPipeline(b *testing.B) {
	for _, out := range pipelines {
		for _, rate := range []int{1_000, 50_000, 200_000} {
			b.Run(fmt.Sprintf("%s/%d", out.name, rate), func(b *testing.B) { out.run(b, newRingSource(rate)) })
		}
	}
}

// pipelines are what events can become.
var pipelines = []struct {
	name string // of the benchmark
	does string
	run  func(*testing.B, *ringSource)
}{
	{"text", "trace, to a pipe", func(b *testing.B, s *ringSource) { s.trace(b, traceOptions{}) }},
	{"terminal", "trace, on a terminal", func(b *testing.B, s *ringSource) { s.traceOnTerminal(b) }},
	{"json", "trace -o json", func(b *testing.B, s *ringSource) { s.trace(b, traceOptions{json: true}) }},
	{"record", "record -w", func(b *testing.B, s *ringSource) { s.record(b) }},
	{"counts", "counting only", func(b *testing.B, s *ringSource) {
		s.silent = true
		s.trace(b, traceOptions{})
	}},
}

// pipe is the end to write to of a pipe that another process empties.
func pipe(b *testing.B) *os.File {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	reader := exec.Command("cat")
	reader.Stdin = r
	if err := reader.Start(); err != nil {
		b.Fatal(err)
	}
	r.Close()
	b.Cleanup(func() {
		w.Close()
		if err := reader.Wait(); err != nil {
			b.Error(err)
		}
	})
	return w
}

const (
	readsASecond  = 20 // of the probe
	ringListeners = 8
	ringHeader    = 8 // BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h
	ringRecord    = ringHeader + event.Size
	ringRecords   = 1 << 14
)

// ringSource is a source that finds the same records in its ring buffer again
// and again: connections that were accepted after some 100 µs, and of 1000 one
// whose client has gone before. Each Read takes 50 ms of its clock.
type ringSource struct {
	now    int64 // ns
	rate   int   // connections a second
	silent bool  // no events are made, only counted

	ring   []byte
	at     int // record that comes next
	raw    []byte
	event  event.Event
	counts [ringListeners]listener.Counted
	deaths [ringListeners]listener.AtAddress
	waits  [ringListeners]listener.Histogram
	walk   bool
}

func newRingSource(rate int) *ringSource {
	s := &ringSource{now: began, rate: rate, raw: make([]byte, event.Size)}
	for i := range s.counts {
		key := listener.Key{NetNS: testNetNS, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(8000+i))}
		s.counts[i] = listener.Counted{ID: uint64(1+i) << 32, Key: key, Family: 2, Inode: uint32(100 + i), Backlog: 4096}
		s.deaths[i] = listener.AtAddress{Key: listener.Key{NetNS: testNetNS, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(8000+i))}}
	}
	for i := range ringRecords {
		l := &s.counts[i%ringListeners]
		e := event.Event{
			Kind: event.Accepted, ListenerID: l.ID, NetNS: testNetNS, Backlog: l.Backlog, Family: 2, State: event.Established,
			Local: s.deaths[i%ringListeners].Key.Addr,
			Peer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(32768+i)),
			Depth: uint32(i % 3), DepthAtEntry: uint32(i % 4), Unread: uint32(i % 512), PID: uint32(1000 + i%ringListeners), TID: uint32(2000 + i%64),
			Comm: event.Comm{'n', 'g', 'i', 'n', 'x'},
		}
		switch i % 1000 {
		case 0:
			e.Kind, e.ListenerID, e.State, e.PID, e.TID = event.CloseWait, 0, event.CloseWaited, 0, 0
		case ringListeners: // the same connection, at the same listener
			e.State = event.CloseWaited
			e.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte((i - ringListeners) >> 8), byte(i - ringListeners)}), uint16(32768+i-ringListeners))
		}
		s.ring = binary.LittleEndian.AppendUint64(s.ring, event.Size)
		s.ring = event.Append(s.ring, &e)
	}
	return s
}

func (s *ringSource) Mode() string     { return "fentry" }
func (s *ringSource) Limits() []string { return nil }
func (s *ringSource) Close() error     { return nil }
func (s *ringSource) Walk() error      { s.walk = true; return nil }

func (s *ringSource) Read(fn func(*event.Event)) error {
	if s.walk {
		s.walk = false
		for i := range s.counts {
			c := &s.counts[i]
			s.event = event.Event{Kind: event.Listener, Time: s.now, ListenerID: c.ID, NetNS: testNetNS, Local: c.Key.Addr,
				Backlog: c.Backlog, Inode: c.Inode, Family: 2, State: event.Listening}
			fn(&s.event)
		}
	}
	n := s.rate / readsASecond
	for i := range n {
		at := s.now + int64(i)*(second/readsASecond)/int64(n)
		wait := 100_000 + int64(s.at%64)*1000
		death := s.at%1000 == 0
		if c := s.at % ringListeners; death {
			s.deaths[c].CloseWait++
		} else {
			s.counts[c].Accepted++
			s.counts[c].Enqueued++
			s.counts[c].LastAccept = at
			s.waits[c].Add(time.Duration(wait))
		}
		if !s.silent {
			copy(s.raw, s.ring[s.at*ringRecord+ringHeader:])
			binary.LittleEndian.PutUint64(s.raw, uint64(at))
			// Both events of one connection tell the same time of queueing.
			queued := s.now - wait
			if death || s.at%1000 == ringListeners {
				queued = s.now - second
			}
			binary.LittleEndian.PutUint64(s.raw[8:], uint64(queued/1000))
			if err := event.Decode(s.raw, &s.event); err != nil {
				return err
			}
			fn(&s.event)
		}
		s.at = (s.at + 1) % ringRecords
	}
	s.now += second / readsASecond
	return nil
}

func (s *ringSource) Sample(waits bool) (*listener.Sample, error) {
	sample := &listener.Sample{Time: s.now, Listeners: append([]listener.Counted(nil), s.counts[:]...), Addresses: append([]listener.AtAddress(nil), s.deaths[:]...)}
	for i := range sample.Listeners {
		if waits {
			sample.Listeners[i].Waits = &s.waits[i]
		}
	}
	return sample, nil
}

// app runs on the source, in its time.
func (s *ringSource) app(out io.Writer) *app {
	epoch := time.Date(2024, 5, 17, 14, 0, 0, 0, time.UTC)
	k := newFakeKernel()
	a := fakeApp(k, nil)
	a.Stdio, a.log = Stdio{Out: out, Err: io.Discard}, zerolog.Nop()
	a.env.now = func() time.Time { return epoch.Add(time.Duration(s.now - began)) }
	a.env.monotonic = func() int64 { return s.now }
	return a
}

func (s *ringSource) trace(b *testing.B, o traceOptions) {
	a := s.app(pipe(b))
	clock := newWallClock(&a.env)
	s.measure(b, a, &o, a.traceView(&o, clock, a.env.now), clock, func(*live) {})
}

// traceOnTerminal writes as to a terminal, coloured and with so many lines a
// second, into a pipe.
func (s *ringSource) traceOnTerminal(b *testing.B) {
	a := s.app(pipe(b))
	clock := newWallClock(&a.env)
	v := newTextView(ui.Options{
		Out: a.Out, Terminal: true, Color: true, Width: func() int { return 160 }, Wall: clock.at, Now: a.env.now,
	})
	s.measure(b, a, &traceOptions{}, v, clock, func(*live) {})
}

func (s *ringSource) record(b *testing.B) {
	a := s.app(io.Discard)
	clock := newWallClock(&a.env)
	shown := newProgress(a)
	into := fileFlags{path: filepath.Join(b.TempDir(), "bench.trace"), options: recording.FileOptions{NoSync: true}}
	var file *recordFile
	s.measure(b, a, &traceOptions{}, shown, clock, func(l *live) {
		var err error
		if file, err = into.create(a.Out, headerOf(l, sourceOptions{})); err != nil {
			b.Fatal(err)
		}
		shown.records(file)
		l.record(&file.tape)
	})
	if err := file.closed(nil); err != nil {
		b.Fatal(err)
	}
}

// measure runs b.N seconds of the source's clock.
func (s *ringSource) measure(b *testing.B, a *app, o *traceOptions, v view, clock *wallClock, prepare func(*live)) {
	o.duration, o.stallAfter = time.Duration(b.N)*time.Second, time.Second
	l := newLive(a, s, o, v, clock)
	prepare(l)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := processorTime(b)
	b.ResetTimer()
	if err := l.run(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	used := processorTime(b) - begun
	runtime.ReadMemStats(&after)
	events := float64(b.N) * float64(s.rate)
	b.ReportMetric(float64(used)/events, "cpu-ns/event")
	b.ReportMetric(used.Seconds()/float64(b.N), "cores")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/events, "allocs/event")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/events, "B/event")
	b.ReportMetric(resident(b), "RSS-MiB")
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the memory of this process, in MiB.
func resident(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}
