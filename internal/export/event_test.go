package export

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

func comm(name string) (c event.Comm) {
	copy(c[:], name)
	return c
}

func events() []event.Event {
	local, peer := netip.MustParseAddrPort("127.0.0.1:8000"), netip.MustParseAddrPort("127.0.0.1:51234")
	full := event.Event{
		Kind: event.Accepted, Time: 5_000_000_123, Queued: 4_000_000_000, ListenerID: 1, Cookie: 99, Local: local, Peer: peer,
		NetNS: 4026531840, Depth: 0, DepthAtEntry: 0, Backlog: 128, Unread: 0, PID: 12, TID: 13, Family: 2,
		State: event.Established, Comm: comm("python3"),
	}
	unknown, dead, odd, early := full, full, full, full
	unknown.Queued, unknown.Cookie = 0, 0
	dead.Kind, dead.State, dead.Errno, dead.PID, dead.Backlog = event.Reset, event.Close, 104, 0, 0
	odd.Comm = comm("a\"\\\x1b\n\xff\x7fé")
	odd.Local = netip.MustParseAddrPort("[::ffff:10.0.0.1]:80")
	odd.Peer = netip.MustParseAddrPort("[2001:db8::1]:65535")
	early.Flags, early.Backlog = event.ExitUnseen, 0
	return []event.Event{full, unknown, dead, odd, early,
		{Kind: event.Overflow, Time: 6_000_000_000, Local: local, Peer: peer, Depth: 129, Backlog: 128, Family: 2},
		{Kind: event.Overflow, Time: 6_000_000_000, Local: local, Peer: peer, Depth: 129, Backlog: 128, Flags: event.LastACK},
		{Kind: event.Overflow, Time: 6_000_000_000, Local: local, Depth: 129, Backlog: 128, Flags: event.LastACK | event.Aborted},
		{Kind: event.AcceptError, Time: 6_000_000_000, Local: local, Depth: 0, Backlog: 128, Family: 2, NetNS: 1, Errno: 24,
			PID: 12, TID: 13, Comm: comm("python3"), FD: 0, Repeats: 12431},
		{Kind: event.AcceptError, Time: 6_000_000_000, Errno: 4000, PID: 12, TID: 13, Comm: comm("python3"), FD: -1, Repeats: 1},
		{Kind: event.Stall, Time: 6_000_000_000, Queued: 5_000_000_000, Local: local, Depth: 12, Backlog: 128, State: event.Listening,
			NetNS: 1, Errno: 24, PID: 12, Comm: comm("python3"), Repeats: 12431},
		{Kind: event.Stall, Time: 6_000_000_000, Queued: 5_000_000_000, Local: local, Depth: 12, Backlog: 128, State: event.Listening, NetNS: 1}}
}

func TestEventLines(t *testing.T) {
	var b []byte
	for _, e := range events() {
		start := len(b)
		bound := netip.MustParseAddrPort("0.0.0.0:8000")
		if !e.Local.IsValid() {
			bound = netip.AddrPort{}
		}
		b = AppendEvent(b, &e, time.Unix(1715950800, e.Time), bound)
		if !json.Valid(b[start:]) {
			t.Errorf("not JSON: %s", b[start:])
		}
	}
	golden.Compare(t, "events.jsonl", b)
}

func FuzzCommIsValidJSON(f *testing.F) {
	f.Add([]byte("python3"))
	f.Add([]byte("\"\\\x00\xff\u2028"))
	f.Fuzz(func(t *testing.T, name []byte) {
		e := events()[0]
		e.Comm = event.Comm{}
		copy(e.Comm[:], name)
		line := AppendEvent(nil, &e, time.Unix(0, 0), netip.AddrPort{})
		var got struct{ Comm string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		want := strings.ToValidUTF8(e.Comm.String(), "")
		if strings.ReplaceAll(got.Comm, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Fatalf("comm %q became %q", e.Comm.String(), got.Comm)
		}
	})
}

func TestEventAllocatesNothing(t *testing.T) {
	e, at := events()[0], time.Unix(1715950800, 0)
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = AppendEvent(b[:0], &e, at, e.Local) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	e, at := events()[0], time.Unix(1715950800, 0)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvent(buf[:0], &e, at, e.Local)
	}
}

func TestRecords(t *testing.T) {
	wall := func(ns int64) time.Time { return time.Unix(1715950800, ns) }
	row := listener.Row{
		Key: listener.Key{NetNS: 7, Addr: netip.MustParseAddrPort("[::]:80")}, Open: 1, Time: 50, OldestQueued: 20,
		Depth: 0, Backlog: 511, Enqueued: 3, Accepted: 2, AttachKnown: true,
		Wait:       listener.Waits{Count: 2, P50: 1, P90: 2, P99: 3, Max: 4},
		Unaccepted: listener.Unaccepted{Known: true, Established: 1},
	}
	closed := listener.Row{Key: row.Key, Closed: 1, Purged: 4, Wait: listener.Waits{Max: 9}}
	failures := []listener.AcceptFailures{{PID: 12, Comm: comm("\"python\""), Errno: 24, Count: 12431, Last: 5}, {Errno: 23, Count: 1, Last: 4}}
	failing := listener.Row{Key: row.Key, Open: 1, OverflowSYN: 5, OverflowACK: 2, MigratedIn: 3, MigratedOut: 1,
		MaxDepth: 129, MaxDepthBacklog: 128, Full: time.Second, AcceptErrors: failures}
	var b []byte
	b = AppendListener(b, &Listener{Row: &row, Owners: []owner.Process{{PID: 1, Comm: "<nginx>"}}, HeldKnown: true, Refusals: true, Wall: wall})
	b = AppendListener(b, &Listener{Row: &closed})
	b = AppendListener(b, &Listener{Row: &failing, Refusals: true, Wall: wall, HeldKnown: true, Held: []Held{
		{Owner: owner.Process{PID: 12, Comm: "python3", FDs: []int{9, 7, 8}}, Sockets: 3}, {Sockets: 1}}})
	b = AppendListener(b, &Listener{Row: &listener.Row{Key: row.Key, MaxDepthUnknown: true}, Refusals: true, Wall: wall})
	b = AppendLoss(b, &listener.Loss{What: "ring_full", Text: "event[|s] found the buffer full", Count: 3})
	b = AppendLoss(b, &listener.Loss{What: "undecoded", Text: "record[|s] [was|were] not understood", Count: 1})
	b = AppendSummary(b, Summary{Time: time.Unix(1715950800, 5), Mode: "fentry", Duration: time.Second, Listeners: 2, Accepts: AcceptsOf(2, false)}, wall)
	b = AppendSummary(b, Summary{Time: time.Unix(1715950800, 5), Mode: "fentry", Duration: time.Second,
		Accepts: AcceptsOf(0, false), Refusals: &Refusals{Overflow: 7, AcceptErrors: 12433, Elsewhere: failures[1:]}}, wall)
	sampled := listener.Row{Key: row.Key, Open: 1, Backlog: 511, Enqueued: 50, Accepted: 49, Seen: 2, Sampled: true, AttachKnown: true,
		Wait: listener.Waits{Count: 2, P50: 1, P90: 2, P99: 3, Max: 4}}
	least := listener.Row{Key: row.Key, Closed: 1, Enqueued: 50, Accepted: 49, Sampled: true, AtLeast: true, AttachKnown: true}
	b = AppendListener(b, &Listener{Row: &sampled})
	b = AppendListener(b, &Listener{Row: &least})
	b = AppendSummary(b, Summary{Time: time.Unix(1715950800, 5), Mode: "restricted", Duration: time.Second, Listeners: 2, Accepts: AcceptsOf(98, true)}, wall)
	golden.Compare(t, "records.jsonl", b)
}
