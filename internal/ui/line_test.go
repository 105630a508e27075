package ui

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"

	"acceptwatch/internal/event"
	"acceptwatch/internal/golden"
)

// wall is the time of day of CLOCK_MONOTONIC 0 in tests.
func wall(ns int64) time.Time {
	return time.Date(2024, 5, 17, 14, 0, 0, 0, time.UTC).Add(time.Duration(ns))
}

func comm(name string) (c event.Comm) {
	copy(c[:], name)
	return c
}

func TestLines(t *testing.T) {
	for _, test := range []struct {
		file  string
		width int
		color bool
	}{
		{"lines_80.txt", 80, false},
		{"lines_80_color.txt", 80, true},
		{"lines_120.txt", 120, false},
		{"lines_200.txt", 200, false},
		{"lines_200_color.txt", 200, true},
		{"lines_pipe.txt", 0, false},
	} {
		r := renderer{layoutFor(test.width), palette{test.color}, wall}
		b := append(r.appendColumns(nil), '\n')
		for _, l := range sampleLines() {
			start := len(b)
			b = r.appendLine(b, &l)
			if test.width == 0 || test.color {
				continue
			}
			for line := range bytes.Lines(b[start:]) {
				if n := utf8.RuneCount(line) - 1; n > test.width {
					t.Errorf("%s: %d columns in %q", test.file, n, line)
				}
			}
		}
		golden.Compare(t, test.file, b)
	}
}

func BenchmarkLine(b *testing.B) {
	r := renderer{layoutFor(0), palette{}, wall}
	line := sampleLines()[0]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.appendLine(buf[:0], &line)
	}
}

// refused is a connection that found the queue full.
func refused(at int64, flags event.Flags) Line {
	return Line{Event: &event.Event{
		Kind: event.Overflow, Time: at, ListenerID: 1, NetNS: 4026531840, Family: 2, Flags: flags,
		Local: netip.MustParseAddrPort("127.0.0.1:8000"), Peer: netip.MustParseAddrPort("127.0.0.1:51234"), Depth: 129, Backlog: 128,
	}, Listener: netip.MustParseAddrPort("127.0.0.1:8000")}
}

// failedAccept is an accept() of python3 that failed.
func failedAccept(at int64, errno uint16, change func(*Line)) Line {
	l := Line{Event: &event.Event{
		Kind: event.AcceptError, Time: at, ListenerID: 1, NetNS: 4026531840, Family: 2, Errno: errno, Repeats: 1, FD: 5,
		Local: netip.MustParseAddrPort("127.0.0.1:8000"), Depth: 12, Backlog: 128, PID: 123, TID: 125, Comm: comm("python3"),
	}, Listener: netip.MustParseAddrPort("127.0.0.1:8000")}
	if change != nil {
		change(&l)
	}
	return l
}

func sampleLines() []Line {
	const second = int64(time.Second)
	server := netip.MustParseAddrPort("127.0.0.1:8000")
	make := func(kind event.Kind, at, wait int64, change func(e *event.Event)) Line {
		e := &event.Event{
			Kind: kind, Time: at, Queued: at - wait, ListenerID: 1, NetNS: 4026531840, Local: server,
			Peer: netip.MustParseAddrPort("127.0.0.1:51234"), Depth: 12, Backlog: 128, Family: 2,
			State: event.Established, Unread: 77,
		}
		if kind == event.Accepted {
			e.PID, e.TID, e.Comm = 12345, 12345, comm("python3")
		}
		if change != nil {
			change(e)
		}
		return Line{Event: e, Listener: server}
	}
	return []Line{
		make(event.Accepted, 100*second+123456789, 1_240_000, func(e *event.Event) { e.Depth = 0 }),
		make(event.Accepted, 101*second, 0, func(e *event.Event) { e.Queued = 0 }),
		make(event.Accepted, 102*second, 41_200_000_000, nil),
		make(event.Accepted, 102*second, 3_000_000, func(e *event.Event) { e.Flags = event.Sampled }),
		make(event.CloseWait, 103*second, 41_200_000_000, func(e *event.Event) { e.State = event.CloseWaited }),
		make(event.CloseWait, 103*second, 812_000, func(e *event.Event) {
			e.State, e.Flags, e.Depth, e.Backlog = event.CloseWaited, event.Recovered, 0, 0
		}),
		make(event.Reset, 104*second, 3_210_000_000, func(e *event.Event) { e.State, e.Errno = event.Close, 104 }),
		make(event.Reset, 104*second, 3_210_000_000, func(e *event.Event) {
			e.State, e.Errno, e.Flags = event.Close, 32, event.AfterFIN
		}),
		make(event.Reset, 104*second, 3_210_000_000, func(e *event.Event) { e.State, e.Errno = event.Close, 110 }),
		make(event.Reset, 104*second, 3_210_000_000, func(e *event.Event) { e.State, e.Errno = event.Close, 113 }),
		make(event.Accepted, 105*second, 99_900_000_000, func(e *event.Event) { e.State = event.CloseWaited }),
		make(event.Accepted, 105*second, 99_900_000_000, func(e *event.Event) { e.State = event.Close }),
		make(event.Purged, 106*second, 125*second, nil),
		make(event.Purged, 106*second, 125*second, func(e *event.Event) { e.State = event.CloseWaited }),
		make(event.Purged, 106*second, 125*second, func(e *event.Event) { e.State = event.Close }),
		func() Line {
			l := make(event.CloseWait, 106*second, 812_000, func(e *event.Event) { e.State, e.Depth, e.Backlog = event.CloseWaited, 0, 0 })
			l.AboutDepth, l.AboutBacklog = 129, 128
			return l
		}(),
		refused(106*second, 0),
		refused(106*second, event.LastACK),
		refused(106*second, event.LastACK|event.Aborted),
		func() Line {
			l := refused(106*second, 0)
			l.Peer = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
			return l
		}(),
		failedAccept(106*second, 24, nil),
		failedAccept(107*second, 24, func(l *Line) { l.Repeats, l.Over, l.Depth = 12431, time.Second+20*time.Millisecond, 129 }),
		failedAccept(107*second, 23, func(l *Line) { l.Repeats, l.Over, l.Depth = 7, 2500*time.Millisecond, 1 }),
		failedAccept(107*second, 12, func(l *Line) { l.Repeats = 3 }),
		failedAccept(107*second, 22, func(l *Line) { l.Listener, l.Local, l.Depth, l.Backlog = netip.AddrPort{}, netip.AddrPort{}, 0, 0 }),
		failedAccept(107*second, 22, func(l *Line) { l.Repeats, l.Over, l.Depth, l.Backlog = 9321, time.Second, 0, 0 }),
		failedAccept(107*second, 24, func(l *Line) { l.Depth, l.Backlog, l.AboutDepth, l.AboutBacklog = 0, 0, 5, 128 }),
		failedAccept(107*second, 71, func(l *Line) {
			l.Listener, l.Local, l.FD, l.Depth, l.Backlog = netip.AddrPort{}, netip.AddrPort{}, -1, 0, 0
		}),
		failedAccept(107*second, 103, nil),
		failedAccept(107*second, 1, nil),
		make(event.Accepted, 107*second, 20_000, func(e *event.Event) {
			e.Local = netip.MustParseAddrPort("[2001:db8::1]:443")
			e.Peer = netip.MustParseAddrPort("[2001:db8:85a3::8a2e:370:7334]:65535")
			e.Comm = comm("evil\x1b[2Jname")
		}),
		func() Line {
			l := make(event.Stall, 108*second, second, nil)
			l.Peer = netip.AddrPort{}
			l.LastAccept = LastAccept{107 * second, 123, 125, comm("python3")}
			return l
		}(),
		make(event.Stall, 108*second, 1500*second/1000, nil),
		make(event.Stall, 108*second, second, func(e *event.Event) { e.Flags = event.Sampled }),
		func() Line {
			l := make(event.Stall, 108*second, second, func(e *event.Event) {
				e.PID, e.Comm, e.Errno, e.Repeats = 123, comm("python3"), 24, 12431
			})
			l.LastAccept = LastAccept{107 * second, 123, 125, comm("python3")}
			return l
		}(),
		make(event.Stall, 108*second, second, func(e *event.Event) { e.Errno, e.Repeats = 23, 1 }),
		make(event.StallEnd, 150*second, 42*second, func(e *event.Event) {
			e.Ended, e.PID, e.TID, e.Comm, e.Depth = event.EndedByAccept, 123, 125, comm("python3"), 11
		}),
		make(event.StallEnd, 150*second, 42*second, func(e *event.Event) { e.Ended, e.Depth = event.EndedByClose, 11 }),
		make(event.StallEnd, 150*second, 42*second, func(e *event.Event) { e.Ended, e.Depth = event.EndedByEmpty, 0 }),
		make(event.ListenerClosed, 151*second, 0, func(e *event.Event) { e.Depth = 0 }),
	}
}
