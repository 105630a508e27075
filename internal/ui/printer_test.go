package ui

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// printerAt is a terminal of a width, or a pipe if that is 0, and its clock.
func printerAt(out *bytes.Buffer, width *int, now *time.Time) *Printer {
	return NewPrinter(Options{
		Out: out, Terminal: *width > 0, Width: func() int { return *width }, Wall: wall,
		Now: func() time.Time { return *now },
	})
}

func TestTerminalGetsFiftyAcceptedLinesASecondAndAllProblems(t *testing.T) {
	var out bytes.Buffer
	width, now := 80, wall(0)
	p := printerAt(&out, &width, &now)
	all := sampleLines()
	accepted, dead := all[0], all[4]
	for i := range 2000 {
		p.Line(&accepted)
		if i%100 == 0 {
			p.Line(&dead)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "51234 accepted "); n != linesASecond {
		t.Errorf("%d accepted lines in one second, want %d", n, linesASecond)
	}
	if n := strings.Count(out.String(), "!! CLOSE_WAIT before accept"); n != 20 {
		t.Errorf("%d of 20 problems shown", n)
	}
	out.Reset()
	now = now.Add(900 * time.Millisecond)
	p.Tick()
	now = now.Add(200 * time.Millisecond)
	p.Tick()
	p.Line(&accepted)
	_ = p.Flush()
	if got := out.String(); !strings.HasPrefix(got, "... 1,950 more accepted\n14:01:40 ") {
		t.Errorf("after the second:\n%s", got)
	}
}

// Refusals come as fast as clients try, and failed accepts as fast as the server
// loops: they must not push out what else there is to see.
func TestTerminalFoldsFloodsByListener(t *testing.T) {
	var out bytes.Buffer
	width, now := 200, wall(0)
	p := printerAt(&out, &width, &now)
	dead := sampleLines()[4]
	for i := range 1000 {
		one := refused(0, 0)
		two := refused(0, event.LastACK)
		two.Listener = netip.MustParseAddrPort("127.0.0.1:9000")
		failed := failedAccept(0, 24, func(l *Line) { l.Repeats = 10 })
		p.Line(&one)
		if i < 7 {
			p.Line(&two)
		}
		p.Line(&failed)
		if i%100 == 0 {
			p.Line(&dead)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"127.0.0.1:8000        127.0.0.1:51234       overflow": refusalsASecond,
		"127.0.0.1:9000        127.0.0.1:51234       overflow": refusalsASecond,
		"!! accept() FAILS with EMFILE":                        refusalsASecond,
		"!! CLOSE_WAIT before accept":                          10,
	} {
		if n := strings.Count(out.String(), text); n != want {
			t.Errorf("%d of %q, want %d:\n%s", n, text, want, out.String())
		}
	}
	out.Reset()
	now = now.Add(1100 * time.Millisecond)
	p.Tick()
	p.Tick()
	last := refused(0, 0)
	for range refusalsASecond + 1 {
		p.Line(&last)
	}
	_ = p.Flush()
	want := "... 995 more overflow at 127.0.0.1:8000\n... 2 more overflow at 127.0.0.1:9000\n" +
		"... accept() failed 9,950 more times at 127.0.0.1:8000\n14:00:00"
	if got := out.String(); !strings.HasPrefix(got, want) {
		t.Errorf("after the second:\n%s", got)
	}
	out.Reset()
	p.Summary(&Summary{})
	_ = p.Flush()
	if got := out.String(); !strings.HasPrefix(got, "... 1 more overflow at 127.0.0.1:8000\n\n") {
		t.Errorf("at the end:\n%s", got)
	}
}

func TestFloodsAtManyListenersAreBounded(t *testing.T) {
	var out bytes.Buffer
	width, now := 200, wall(0)
	p := printerAt(&out, &width, &now)
	for i := range 10 * maxFloods {
		l := refused(0, 0)
		l.Listener = netip.AddrPortFrom(l.Listener.Addr(), uint16(1+i))
		p.Line(&l)
	}
	if n := len(p.floods.of); n != maxFloods+1 {
		t.Errorf("%d told apart", n)
	}
	_ = p.Flush()
	out.Reset()
	p.moreRefused(p.floods.drain())
	_ = p.Flush()
	want := fmt.Sprintf("... %s more overflow at other listeners\n", Count(9*maxFloods-refusalsASecond))
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// The kernel says how often accept() failed since it said so last.
func TestFailuresAreSaidWithTheTimeTheyTook(t *testing.T) {
	var out bytes.Buffer
	width, now := 0, wall(0)
	p := printerAt(&out, &width, &now)
	for i, l := range []Line{
		failedAccept(0, 24, nil),
		failedAccept(0, 24, func(l *Line) { l.PID, l.Repeats = 124, 5 }), // another one
		failedAccept(int64(1010*time.Millisecond), 24, func(l *Line) { l.Repeats = 12431 }),
		failedAccept(int64(101*time.Second), 24, func(l *Line) { l.Repeats = 2 }),
	} {
		out.Reset()
		p.Line(&l)
		_ = p.Flush()
		want := []string{"RLIMIT_NOFILE); 12 connections", "RLIMIT_NOFILE); 5 times; 12 connections",
			"; 12,431 times in the last second; ", "; 2 times in the last 1m40s; "}[i]
		if !strings.Contains(out.String(), want) {
			t.Errorf("%d: no %q in %s", i, want, out.String())
		}
	}
	for pid := range uint32(3 * maxFailing) {
		l := failedAccept(0, 24, func(l *Line) { l.PID = pid })
		p.Line(&l)
	}
	if n := len(p.failing); n > maxFailing {
		t.Errorf("%d are remembered", n)
	}
}

func TestPipeGetsEverything(t *testing.T) {
	var out bytes.Buffer
	width, now := 0, wall(0)
	p := printerAt(&out, &width, &now)
	line, full := sampleLines()[0], refused(0, 0)
	for range 1000 {
		p.Line(&line)
		p.Line(&full)
	}
	if err := p.Flush(); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 2000 {
		t.Errorf("%d lines, %v", bytes.Count(out.Bytes(), []byte("\n")), err)
	}
}

func TestTitlesComeAgainInTheNewWidth(t *testing.T) {
	var out bytes.Buffer
	width, now := 80, wall(0)
	p := printerAt(&out, &width, &now)
	p.Titles()
	line := sampleLines()[0]
	for range titlesEvery {
		p.Line(&line)
	}
	width = 120
	p.Line(&line)
	_ = p.Flush()
	if strings.Count(out.String(), "TIME ") != 2 || strings.Count(out.String(), "UNREAD") != 1 {
		t.Errorf("titles:\n%s", out.String())
	}
}

func TestMarksAreExplainedOnce(t *testing.T) {
	var out bytes.Buffer
	width, now := 0, wall(0)
	p := printerAt(&out, &width, &now)
	all := sampleLines()
	about := all[4]
	about.Event = &event.Event{Kind: event.Reset, State: event.Close}
	about.AboutDepth = 3
	full := failedAccept(0, 24, nil)
	system := failedAccept(0, 23, nil)
	for range 3 {
		p.Line(&all[1])
		p.Line(&all[3])
		p.Line(&about)
		p.Line(&full)
		p.Line(&system)
	}
	_ = p.Flush()
	for _, note := range []string{"\n0*: ", "\n~ before a wait: ", "\n~ before a depth: ", "\nEMFILE: ", "\nENFILE: "} {
		if strings.Count(out.String(), note) != 1 {
			t.Errorf("%q is not explained once:\n%s", note, out.String())
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestFlushTellsOfAWriteThatFailedBefore(t *testing.T) {
	p := NewPrinter(Options{Out: brokenPipe{}, Width: func() int { return 0 }, Wall: wall, Now: time.Now})
	line := sampleLines()[0]
	for range 2000 {
		p.Line(&line)
	}
	if err := p.Flush(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Flush() = %v", err)
	}
}

// story is a listener that had everything happen to it, one that is idle, and
// a group.
func story() []Listener {
	key := func(text string) listener.Key {
		return listener.Key{NetNS: 4026531840, Addr: netip.MustParseAddrPort(text)}
	}
	server := owner.Process{PID: 123, Comm: "python3", FDs: []int{3}}
	at := wallNow
	return []Listener{
		{Row: listener.Row{
			Key: key("127.0.0.1:8000"), Open: 1, Time: at, Depth: 129, Backlog: 128, OldestQueued: at - 41_200_000_000,
			QueuedAtAttach: 20, DeadAtAttach: 3, Enqueued: 15000, Accepted: 12431, AcceptedDead: 17,
			CloseWait: 3021, Reset: 44, ResetAfterFIN: 4, Purged: 2, Lost: 1,
			Wait:       listener.Waits{Count: 12431, P50: 812_000, P90: 1_240_000, P99: 3 * time.Second, Max: 41 * time.Second},
			Unaccepted: listener.Unaccepted{Known: true, Established: 100, CloseWait: 25, Close: 3, SynRecv: 1},
			Stalls:     2, Stalled: 125 * time.Second, StalledSince: at - 60_000_000_000,
			OverflowSYN: 1234, OverflowACK: 1, MaxDepth: 129, MaxDepthBacklog: 128, Full: 93 * time.Second,
			AcceptErrors: []listener.AcceptFailures{
				{PID: 123, Comm: comm("python3"), Errno: 24, Count: 1_234_567, Last: at - 100_000_000},
				{PID: 124, Comm: comm("python3"), Errno: 24, Count: 12, Last: at - 20_000_000_000},
				{PID: 124, Comm: comm("python3"), Errno: 71, Count: 3, Last: at - 20_000_000_000},
				{Errno: 23, Count: 2, Last: at - 20_000_000_000},
			},
		}, Owners: []owner.Process{server}, HeldKnown: true, Held: []Held{
			{Owner: owner.Process{PID: 123, Comm: "python3", FDs: []int{9, 7, 8, 12}}, Sockets: 4}, {Sockets: 1},
		}},
		{Row: listener.Row{Key: key("[::]:22"), Open: 1, Backlog: 4096, V6Only: true}, Owners: []owner.Process{{PID: 1, Comm: "systemd"}}},
		{Row: listener.Row{Key: listener.Key{NetNS: 4026532000, Addr: netip.MustParseAddrPort("0.0.0.0:80")}, Open: 4, Time: at,
			Backlog: 2044, Accepted: 5, Wait: listener.Waits{Max: 12 * time.Millisecond},
			MigratedIn: 12, MigratedOut: 12, Closed: 1, MaxDepth: 12, MaxDepthBacklog: 511, Stalls: 1, Stalled: time.Second},
			Owners: []owner.Process{{PID: 5, Comm: "nginx"}, {PID: 6, Comm: "nginx"}, {PID: 7, Comm: "nginx"}, {PID: 8, Comm: "nginx"}, {PID: 9, Comm: "nginx"}}},
		{Row: listener.Row{Key: key("127.0.0.1:9000"), Closed: 1, Time: at, Purged: 3, Enqueued: 3, MaxDepth: 3, MaxDepthBacklog: 5},
			Owners: []owner.Process{server}},
	}
}

// failuresOf are those of so many processes.
func failuresOf(processes int) []listener.AcceptFailures {
	var all []listener.AcceptFailures
	for i := range processes {
		all = append(all, listener.AcceptFailures{PID: uint32(500 + i), Comm: comm("worker"), Errno: 22, Count: uint64(processes - i), Last: wallNow})
	}
	return all
}

const wallNow = int64(200 * time.Second)

func TestHeaderAndSummary(t *testing.T) {
	for _, width := range []int{0, 80, 200} {
		for _, color := range []bool{false, true} {
			var out bytes.Buffer
			p := NewPrinter(Options{Out: &out, Color: color, Terminal: width > 0, Width: func() int { return width },
				Wall: wall, Now: func() time.Time { return wall(0) }})
			oldest := []event.Event{*sampleLines()[0].Event, *sampleLines()[4].Event, *sampleLines()[6].Event}
			p.Header(&Header{
				Mode: "restricted", Why: "mode fentry does not work here: operation not permitted",
				Limits: []string{"accept() itself cannot be watched: waits are sampled every 100 ms"},
				Filter: "port 80, 8000, 9000", Lines: "close_wait", NetNS: 4026531840,
				Listeners: story(), Waiting: "nothing listens on port 9000", Oldest: oldest, Queued: 129, Hint: "Ctrl-C ends with a summary",
			})
			p.Titles()
			p.Summary(&Summary{
				Mode: "restricted", Duration: 10 * time.Minute, NetNS: 4026531840, Listeners: story(),
				AcceptErrors: failuresOf(12),
				Losses: []listener.Loss{
					{What: "ring_full", Text: "events found the buffer full: their lines are missing, the counts are not", Count: 12345},
					{What: "recursion_misses", Text: "runs of a program were skipped", Count: 2},
				},
				Notes: []string{"owners may be missing: 1 process could not be inspected"},
			})
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("summary_%d.txt", width)
			if color {
				name = fmt.Sprintf("summary_%d_color.txt", width)
			}
			golden.Compare(t, name, out.Bytes())
		}
	}
}
