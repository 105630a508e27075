package recording

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

var update = flag.Bool("update", false, "write the text forms of the traces in testdata, and the trace of the present version if there is none")

// evidence is that of a stall.
func evidence(at int64) *diagnose.Evidence {
	return &diagnose.Evidence{
		Time: at, Span: 3 * time.Second, Looks: 12, Listener: "0.0.0.0:8000", NetNS: 4026531840, Inode: 4711, Mode: "fentry",
		Queue: diagnose.Queue{Depth: diagnose.Known[uint32](2), Accepted: diagnose.Known[uint64](0), Oldest: diagnose.Known(4 * time.Second)},
		Processes: []diagnose.Process{{PID: 1234, Comm: "gunicorn", Descriptors: diagnose.Known(7), ThreadCount: 1, Threads: []diagnose.Thread{{
			TID: 1234, Comm: "gunicorn", Run: diagnose.Known(time.Duration(0)),
			Sights: []diagnose.Sight{
				{Looks: 8, State: "S", Call: "recvfrom", Target: diagnose.Target{Kind: diagnose.KindTCP, FD: 7, Peer: "192.0.2.9:5432"}},
				{Looks: 4, State: "S", Call: "accept4", Target: diagnose.Target{Kind: diagnose.KindTCP, FD: 6, Local: "0.0.0.0:8443", Listening: true}},
			},
		}}}},
	}
}

// golden is the present version's trace: an incident with everything in it.
func golden(w io.Writer) error {
	header := &Header{
		Tool: "acceptwatch v1.0.0", Host: "web1", Kernel: "6.12.0", BootID: "00000000-0000-4000-8000-000000000001",
		Start: 100 * second, Clock: Clock{100 * second, 1_700_000_000 * second}, Mode: "fentry", Why: "BTF trampolines work here",
		Limits: []string{"cannot see AF_UNIX"}, Filter: "port 8000", Settings: map[string]string{"stall_after": "1s"}, NetNS: 4026531840,
	}
	t, err := NewWriter(w, header, Options{BlockEvents: 6})
	if err != nil {
		return err
	}
	local, bound := netip.MustParseAddrPort("192.0.2.1:8000"), netip.MustParseAddrPort("0.0.0.0:8000")
	six := netip.MustParseAddrPort("[2001:db8::1]:8000")
	comm := event.Comm{'g', 'u', 'n', 'i', 'c', 'o', 'r', 'n'}
	at := 100 * second
	conn := func(kind event.Kind, port uint16, state event.State) *event.Event {
		at += 1_234_567
		return &event.Event{Kind: kind, Time: at, Queued: at/1000*1000 - 700_000*int64(port%5), ListenerID: 0xffff888012345000,
			Local: local, Peer: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), port), NetNS: 4026531840,
			Depth: uint32(port % 7), DepthAtEntry: 1, Backlog: 128, Family: 2, State: state}
	}
	accepted := func(port uint16, state event.State) *event.Event {
		e := conn(event.Accepted, port, state)
		e.PID, e.TID, e.Comm, e.Unread, e.Cookie = 1234, 1235, comm, 78, uint64(port)
		return e
	}
	of6 := func(e *event.Event) *event.Event {
		e.Local, e.Peer, e.Family = six, netip.MustParseAddrPort("[2001:db8::2]:50000"), 10
		return e
	}
	unknown := accepted(40005, event.Close)
	unknown.Queued, unknown.ListenerID, unknown.Flags = 0, 0, event.ExitUnseen
	reset := conn(event.Reset, 40003, event.Close)
	reset.Flags, reset.Errno = event.AfterFIN|event.Recovered, 32
	failed := &event.Event{Kind: event.AcceptError, Time: at + 5, PID: 1234, TID: 1234, Comm: comm, FD: 5, Errno: 24, Repeats: 1000,
		Local: bound, Inode: 4711, Family: 2, NetNS: 4026531840}
	nameless := &event.Event{Kind: event.AcceptError, Time: at + 6, PID: 1, TID: 1, FD: -1, Errno: 23, Repeats: 1}
	list := &event.Event{Kind: event.Listener, Time: at, ListenerID: 0xffff888012345000, Local: bound, NetNS: 4026531840, Depth: 2,
		Backlog: 128, Inode: 4711, Family: 2, State: event.Listening, Peer: netip.MustParseAddrPort("0.0.0.0:0")}
	overflow := conn(event.Overflow, 40009, event.NewSynRecv)
	overflow.Flags, overflow.Queued = event.LastACK, 0
	var waits listener.Histogram
	waits.AddBucket(7, 3)
	waits.AddBucket(300, 1)
	counted := listener.Counted{ID: 0xffff888012345000, Key: listener.Key{NetNS: 4026531840, Addr: bound}, Family: 2, Inode: 4711,
		Depth: 2, Backlog: 128, Enqueued: 9, Accepted: 7, AcceptedCloseWait: 1, OverflowACK: 1, MaxDepth: 6, LastAccept: at, Waits: &waits}
	first := &listener.Sample{Time: at, Listeners: []listener.Counted{counted, {ID: 9, Key: listener.Key{Addr: six}, Family: 10, V6Only: true}},
		Addresses: []listener.AtAddress{{Key: listener.Key{NetNS: 4026531840, Addr: local}, CloseWait: 3, Reset: 1}},
		Losses:    []listener.Loss{{What: "ring_full", Text: "event[|s] found the buffer full", Count: 2}}}
	again := *first
	again.Time += second / 5
	grown := waits.Clone()
	grown.AddBucket(8, 2)
	grown.NoteMax(9_000_000)
	counted.Accepted, counted.Waits = 9, grown
	again.Listeners = []listener.Counted{counted, first.Listeners[1]}
	again.AcceptErrors = []listener.AcceptError{{ListenerID: 9, Key: listener.Key{Addr: bound}, Inode: 4711, PID: 1234, Comm: comm, Errno: 24, Count: 1001, Last: at}}
	for _, e := range []entry{
		{mark: &Mark{MarkWalk, at}}, {event: list}, {event: conn(event.Queued, 40001, event.CloseWaited)}, {event: conn(event.Queued, 40002, event.Established)},
		{mark: &Mark{MarkRead, at}}, {sample: first, waits: true},
		{owners: &Owners{Time: at, Listening: []Owner{{Inode: 4711, PID: 1234, Comm: "gunicorn", FDs: []int{5}, StartTime: 99, Unit: "web.service"}}}},
		{mark: &Mark{MarkReady, at}}, {clock: &Clock{at, 1_700_000_000*second + at}},
		{event: accepted(40001, event.CloseWaited)}, {event: accepted(40002, event.Established)}, {event: reset},
		{event: conn(event.CloseWait, 40004, event.CloseWaited)}, {event: unknown}, {event: of6(accepted(1, event.Established))},
		{event: of6(conn(event.Purged, 2, event.Close))}, {event: overflow}, {event: failed}, {event: nameless},
		{sample: &again, waits: true}, {event: &event.Event{Kind: event.ListenerClosed, Time: at + 9, ListenerID: 9, Local: six, Family: 10}},
		{owners: &Owners{Time: at, HeldKnown: true, Held: []Held{{Local: "192.0.2.1:8000", Inode: 5, Owners: []Owner{{PID: 1234, Comm: "gunicorn", FDs: []int{7}}}}},
			Scan: &Scan{Processes: 10, FDs: 100, Denied: 1, FirstError: "permission denied", EvenRoot: true}, Missing: []string{"namespace 5"}}},
		{evidence: evidence(at)},
		{losses: []listener.Loss{{What: "too_large", Text: "sample[|s] [was|were] too large", Count: 1}}}, {mark: &Mark{MarkEnd, at + second}},
	} {
		if err := e.write(t); err != nil {
			return err
		}
	}
	return t.Close()
}

// The traces in testdata are of released versions and never change.
func TestTracesOfAllVersionsAreRead(t *testing.T) {
	present := filepath.Join("testdata", fmt.Sprintf("v%d.%d.trace", Major, Minor))
	if _, err := os.Stat(present); err != nil && *update {
		var b bytes.Buffer
		if err := golden(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(present, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(present); err != nil {
		t.Errorf("the present version has no trace: %v", err)
	}
	traces, err := filepath.Glob("testdata/*.trace")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range traces {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Text(&got, r); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(name, ".trace") + ".txt"
		if *update {
			if err := os.WriteFile(text, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What is written today has the text of the golden file, if not its bytes: the
// compressor may have changed.
func TestWhatIsWrittenIsWhatTheVersionHolds(t *testing.T) {
	var b, got bytes.Buffer
	if err := golden(&b); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := Text(&got, r); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fmt.Sprintf("testdata/v%d.%d.txt", Major, Minor))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// plainZstd are traces that any zstd must take.
func plainZstd(t *testing.T) map[string][]byte {
	file, err := os.ReadFile(fmt.Sprintf("testdata/v%d.%d.trace", Major, Minor))
	if err != nil {
		t.Fatal(err)
	}
	little, _ := small(t)
	return map[string][]byte{
		"golden": file, "small": little,
		"large":             encode(t, traffic(4, 100_000, 50_000), Options{}),
		"large, all in one": encode(t, traffic(4, 8192, 1_000_000), Options{}),
	}
}

func TestTraceIsAPlainZstdStream(t *testing.T) {
	for name, file := range plainZstd(t) {
		dec, err := zstd.NewReader(bytes.NewReader(file), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, dec)
		dec.Close()
		want := int64(0)
		for at := 0; at < len(file); {
			h, _ := parseHead(file[at:])
			want += int64(h.content)
			at += int(h.length)
		}
		if err != nil || n != want {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, n, want)
		}
	}
}

// zstd -t is asked where there is one. ACCEPTWATCH_NEED_ZSTD demands it.
func TestZstdTakesTraces(t *testing.T) {
	path, err := exec.LookPath("zstd")
	if err != nil {
		if os.Getenv("ACCEPTWATCH_NEED_ZSTD") != "" {
			t.Fatalf("%v: install Debian's package zstd", err)
		}
		t.Skipf("%v: only TestTraceIsAPlainZstdStream has looked", err)
	}
	for name, file := range plainZstd(t) {
		cmd := exec.Command(path, "-t", "-q")
		cmd.Stdin = bytes.NewReader(file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		file[len(file)-5] ^= 1
		cmd = exec.Command(path, "-t", "-q")
		cmd.Stdin = bytes.NewReader(file)
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: a damaged one is taken, too", name)
		}
	}
}
