package ui

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"acceptwatch/internal/event"
)

// SlowWait is the wait from which one is highlighted.
const SlowWait = time.Second

// Line is an event with what only the state of all listeners knows of it.
type Line struct {
	*event.Event
	Listener   netip.AddrPort // bound address; invalid: not known
	LastAccept LastAccept     // of the listener, for Stall
	// AboutDepth and AboutBacklog are those of the queue when it was last heard
	// of, for an event that does not tell; 0: not known.
	AboutDepth, AboutBacklog uint32
	Over                     time.Duration // AcceptError: that Repeats took; 0: not known
}

// LastAccept is who accepted last, and when.
type LastAccept struct {
	Time     int64 // ns, CLOCK_MONOTONIC; 0: nobody was seen to accept
	PID, TID uint32
	Comm     event.Comm
}

// listener is what to show of the listener: its address as far as it is known,
// or that of the connection's own end.
func (l *Line) listener() netip.AddrPort {
	if l.Listener.IsValid() {
		return l.Listener
	}
	return l.Local
}

// peer is the client's end; invalid: not known.
func (l *Line) peer() netip.AddrPort {
	if l.Peer.Port() == 0 {
		return netip.AddrPort{}
	}
	return l.Peer
}

// isProblem says that somebody should look at this one.
func (l *Line) isProblem() bool {
	switch l.Kind {
	case event.CloseWait, event.Reset, event.Purged, event.Overflow, event.AcceptError, event.Stall:
		return true
	case event.Accepted:
		return l.State.Dead()
	}
	return false
}

// renderer turns events into lines of text.
type renderer struct {
	layout
	palette
	wall func(int64) time.Time
}

// appendLine appends the line of an event, and what it says in words, with a
// line feed. A problem too long for what is left of the line follows on lines
// of its own.
func (r *renderer) appendLine(b []byte, l *Line) []byte {
	switch l.Kind {
	case event.AcceptError, event.Stall, event.StallEnd, event.ListenerClosed:
		return r.appendNotice(b, l)
	}
	words := problemSentence(l.Event)
	s := plain
	wait, known := l.Wait()
	switch {
	case words != "":
		s = problem
	case known && wait >= SlowWait:
		s = slow
	}
	b = r.append(b, s)
	start := len(b)
	b = r.appendCells(b, l)
	if r.edge > 0 {
		b = cut(b, start, r.edge)
	}
	switch {
	case words == "":
	case r.edge == 0 || utf8.RuneCount(b[start:])+1+utf8.RuneCountInString(words) <= r.edge:
		b = append(append(b, ' '), words...)
	default:
		b = appendWrapped(append(b, '\n'), words, "   ", "   ", r.edge)
	}
	return append(r.end(b, s), '\n')
}

func (r *renderer) appendCells(b []byte, l *Line) []byte {
	start := len(b)
	b = padRight(r.appendClock(b, l.Time), start, r.time)
	b = append(b, ' ')
	b = padRight(appendAddr(b, l.listener()), len(b), r.listener)
	b = append(b, ' ')
	b = padRight(appendAddr(b, l.peer()), len(b), r.peer)
	b = append(b, ' ')
	b = padRight(append(b, l.Kind.String()...), len(b), r.event)

	var cell [48]byte
	b = appendRight(append(b, ' '), appendWait(cell[:0], l.Event), r.wait)
	b = appendRight(append(b, ' '), appendDepth(cell[:0], l), r.depth)
	if r.unread > 0 {
		b = appendRight(append(b, ' '), appendUnread(cell[:0], l.Event), r.unread)
	}
	if l.PID == 0 {
		return b
	}
	b = append(b, ' ')
	room := 0
	if r.edge > 0 {
		room = max(r.edge-utf8.RuneCount(b[start:]), 1)
	}
	return appendAcceptor(b, l.Event, r.thread, room)
}

// appendClock appends the time of day of an event, 15:04:05.000000 or with fewer
// digits. time.AppendFormat would read its layout again for each line.
func (r *renderer) appendClock(b []byte, ns int64) []byte {
	at := r.wall(ns)
	hour, minute, second := at.Clock()
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = appendDigits(b, second, 2)
	if r.digits == 0 {
		return b
	}
	fraction := at.Nanosecond()
	for range 9 - r.digits {
		fraction /= 10
	}
	return appendDigits(append(b, '.'), fraction, r.digits)
}

// appendDigits appends so many digits of n.
func appendDigits(b []byte, n, digits int) []byte {
	b = append(b, "000000000"[:digits]...)
	for i := len(b) - 1; n > 0 && digits > 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
		digits--
	}
	return b
}

func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, '?')
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(b)
}

// appendWait writes "0*" when accept() was faster than the kernel's note of
// when the connection was queued, "-" when it is not known otherwise, and "~"
// before what was sampled.
func appendWait(b []byte, e *event.Event) []byte {
	wait, known := e.Wait()
	switch {
	case !known && e.Kind == event.Accepted:
		return append(b, "0*"...)
	case !known:
		return append(b, '-')
	case e.Flags&event.Sampled != 0:
		b = append(b, '~')
	}
	return AppendDuration(b, wait)
}

// appendDepth writes "12/128", "~12/128" if that was a moment before, or "-" if
// the queue's listener is not known.
func appendDepth(b []byte, l *Line) []byte {
	depth, backlog := l.Depth, l.Backlog
	if !l.DepthKnown() {
		if l.AboutDepth == 0 {
			return append(b, '-')
		}
		depth, backlog = l.AboutDepth, l.AboutBacklog
		b = append(b, '~')
	}
	b = strconv.AppendUint(b, uint64(depth), 10)
	return strconv.AppendUint(append(b, '/'), uint64(backlog), 10)
}

// appendUnread writes the unread bytes, or "-" if there is nothing to read from.
func appendUnread(b []byte, e *event.Event) []byte {
	if !e.WasQueued() {
		return append(b, '-')
	}
	return strconv.AppendUint(b, uint64(e.Unread), 10)
}

// cut ends the line that begins at start at the edge of the terminal.
func cut(b []byte, start, edge int) []byte {
	if utf8.RuneCount(b[start:]) <= edge {
		return b
	}
	i := start
	for range edge - 1 {
		_, size := utf8.DecodeRune(b[i:])
		i += size
	}
	return append(b[:i], "…"...)
}
