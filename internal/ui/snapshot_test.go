package ui

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/snapshot"
)

// sampleSnapshot is an incident, what leaks, a group of which one is full, and
// a queue in which nothing waits.
func sampleSnapshot() *Snapshot {
	const second = int64(time.Second)
	server := owner.Process{PID: 123, Comm: "python3", FDs: []int{3}}
	queue := func(addr string, look snapshot.Queue, held ...Held) Queue {
		look.Key = listener.Key{NetNS: 1, Addr: netip.MustParseAddrPort(addr)}
		look.Open = max(1, len(look.Members))
		look.Time = 100 * second
		look.Unaccepted.Known = true
		return Queue{Listener: Listener{Row: look.Row, Owners: []owner.Process{server}, Held: held, HeldKnown: true}, Look: &look}
	}
	entry := func(port uint16, age time.Duration, state event.State, unread uint32) event.Event {
		return event.Event{Kind: event.Queued, Time: 100 * second, Queued: 100*second - int64(age), State: state, Unread: unread,
			Peer: netip.AddrPortFrom(netip.MustParseAddr("2001:db8::17"), port)}
	}
	incident := queue("127.0.0.1:8000", snapshot.Queue{
		Row: listener.Row{Depth: 2874, Backlog: 2873, OldestQueued: 100*second - 41*second,
			Unaccepted: listener.Unaccepted{Established: 3, CloseWait: 2868, Close: 3, Ages: listener.Ages{0, 3, 40, 2000, 828, 0}}},
		Derived: true, AgeUnknown: 3, Unread: 1_234_567, Drops: 831, DropsKnown: true,
		Accepts:     snapshot.Accepts{NoneSince: 100*second - 41*second},
		Connections: []event.Event{entry(40001, 41*time.Second, event.CloseWaited, 1234), entry(40002, 812*time.Microsecond, event.Established, 0)},
	})
	leak := queue("[::]:8443", snapshot.Queue{DropsKnown: true},
		Held{Owner: owner.Process{PID: 99, Comm: "leaky", FDs: []int{5, 6, 7, 8, 20}}, Sockets: 5, Silent: 3 * time.Minute},
		Held{Sockets: 2})
	group := queue("0.0.0.0:9000", snapshot.Queue{Row: listener.Row{Depth: 130, Backlog: 512, OldestQueued: 98 * second,
		Members:    []listener.Row{{Depth: 129, Backlog: 128}, {Depth: 1, Backlog: 128}, {Backlog: 128}, {Backlog: 128}},
		Unaccepted: listener.Unaccepted{Established: 129, SynRecv: 1, Ages: listener.Ages{0, 0, 0, 129, 0, 0}}}, AgeUnknown: 1})
	slow := queue("127.0.0.1:7000", snapshot.Queue{Row: listener.Row{Depth: 4, Backlog: 8, OldestQueued: 88 * second,
		Unaccepted: listener.Unaccepted{Established: 1, NotLooked: 3, Ages: listener.Ages{0, 0, 0, 0, 1, 0}}},
		AgeUnknown: 3, Hidden: snapshot.Multipath, Excess: 1, Accepts: snapshot.Accepts{AtMost: 1, Since: 88 * second, Known: true}})
	return &Snapshot{
		Mode: "diag", Filter: "everything", NetNS: 1, At: wall(100 * second), Took: 12 * time.Millisecond, Connections: true,
		Queues: []Queue{incident, group, slow, leak,
			queue("127.0.0.1:22", snapshot.Queue{Row: listener.Row{Backlog: 128}, Drops: 12, DropsKnown: true})},
		Losses:  []listener.Loss{{What: "unplaced", Text: "queued connections were listed whose listener was opened or closed meanwhile", Count: 1}},
		Notes:   []string{"owners may be missing: 41 processes could not be inspected (permission denied: it needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root)"},
		Waiting: "nothing listens on port 4711",
	}
}

func TestSnapshotAsText(t *testing.T) {
	for _, columns := range []int{0, 80, 200} {
		var out bytes.Buffer
		now := wall(0)
		p := printerAt(&out, &columns, &now)
		p.Snapshot(sampleSnapshot())
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		golden.Compare(t, fmt.Sprintf("snapshot_%d.txt", columns), out.Bytes())
		for line := range strings.Lines(out.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); columns > 0 && n > columns {
				t.Errorf("%d columns in a line: %q", n, line)
			}
		}
	}
}

// What was accepted while one looked is listed, and not of those that are queued.
func TestNoMoreHaveGoneThanAreQueued(t *testing.T) {
	columns, now := 0, wall(0)
	p := printerAt(&bytes.Buffer{}, &columns, &now)
	q := Queue{Listener: Listener{Row: listener.Row{Depth: 3, Unaccepted: listener.Unaccepted{CloseWait: 5}}}, Look: &snapshot.Queue{Excess: 2}}
	if got, want := p.meaning(&q, now), "3 of 3 queued clients have already hung up"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWordsAreOfTheAddressThatIsAskedFor(t *testing.T) {
	columns, now := 0, wall(0)
	p := printerAt(&bytes.Buffer{}, &columns, &now)
	for elsewhere, want := range map[uint32]string{
		0: "1 of 3 queued clients has already hung up",
		1: "1 of 2 queued clients has already hung up",
		3: "no queued client came to such an address",
	} {
		q := Queue{Listener: Listener{Row: listener.Row{Depth: 3, Backlog: 8}}, Look: &snapshot.Queue{Elsewhere: elsewhere}}
		q.Unaccepted.CloseWait = 1
		q.Look.Backlog = 8
		if got := p.meaning(&q, now); got != want {
			t.Errorf("%d elsewhere: %q, want %q", elsewhere, got, want)
		}
	}
}

func TestOnlyWhatWasAllSeenIsExact(t *testing.T) {
	notLooked := Queue{Listener: Listener{Row: listener.Row{Unaccepted: listener.Unaccepted{NotLooked: 1}}}}
	for _, test := range []struct {
		s     Snapshot
		exact bool
	}{
		{Snapshot{}, true},
		{Snapshot{Notes: []string{"owners may be missing"}}, true},
		{Snapshot{Partial: true}, false},
		{Snapshot{Losses: make([]listener.Loss, 1)}, false},
		{Snapshot{Queues: []Queue{notLooked}}, false},
	} {
		test.s.Mode = "walk"
		if got := strings.Contains(modeWords(&test.s), "everything is exact"); got != test.exact {
			t.Errorf("%+v: exact %v", test.s, got)
		}
	}
}

// One long address does not break the rows of the others.
func TestConnectionsFitBesideALongAddress(t *testing.T) {
	var out bytes.Buffer
	columns, now := 80, wall(0)
	p := printerAt(&out, &columns, &now)
	s := sampleSnapshot()
	list := s.Queues[0].Look.Connections
	list[0].Peer = netip.MustParseAddrPort("[2001:db80:1111:2222:3333:4444:5555:6666]:40001")
	p.Snapshot(s)
	_ = p.Flush()
	for _, want := range []string{"ESTABLISHED  [2001:db8::17]:40002 ", " UNREAD"} {
		i := strings.Index(out.String(), want)
		line, _, _ := strings.Cut(out.String()[max(i, 0):], "\n")
		if i < 0 || !strings.HasSuffix(line, "0") && !strings.HasSuffix(line, "UNREAD") {
			t.Errorf("%q is broken:\n%s", want, out.String())
		}
	}
}

// A look takes the place of the one before, and no more than the screen has.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	columns, now := 80, wall(0)
	p := printerAt(&out, &columns, &now)
	for _, rows := range []int{10, 0} {
		out.Reset()
		p.Snapshot(sampleSnapshot())
		all := strings.Count(string(p.buf), "\n")
		p.Screen(rows)
		_ = p.Flush()
		shown, ok := strings.CutPrefix(out.String(), "\x1b[H")
		n := strings.Count(shown, "\x1b[K\n")
		switch {
		case !ok || !strings.HasSuffix(shown, "\x1b[K\n\x1b[J"):
			t.Errorf("%q", out.String())
		case rows == 0 && n != all:
			t.Errorf("%d of %d lines", n, all)
		case rows > 0 && (n != rows-1 || !strings.Contains(shown, fmt.Sprintf("... %d lines more", all-n+1))):
			t.Errorf("%d lines on a screen of %d: %q", n, rows, shown)
		}
	}
}

func TestManyIdleListenersAreCountedOnATerminal(t *testing.T) {
	var out bytes.Buffer
	columns, now := 80, wall(0)
	p := printerAt(&out, &columns, &now)
	s := &Snapshot{Filter: "everything"}
	for i := range 30 {
		s.Queues = append(s.Queues, Queue{Listener: Listener{Row: listener.Row{Key: listener.Key{
			Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i+1))}}}, Look: &snapshot.Queue{}})
	}
	p.Snapshot(s)
	_ = p.Flush()
	if n := strings.Count(out.String(), "0.0.0.0:"); n != mostListeners || !strings.Contains(out.String(), "and 10 more (--all lists them)") {
		t.Errorf("%d listed:\n%s", n, out.String())
	}
}
