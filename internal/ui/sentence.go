package ui

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Mark begins whatever says that a client was not served.
const Mark = "!!"

// problemSentence says what happened to a connection that was not accepted
// alive; empty for one that was, and for what is no connection.
func problemSentence(e *event.Event) string {
	text := ""
	switch {
	case e.Kind == event.CloseWait:
		text = "CLOSE_WAIT before accept: the client hung up after waiting " + waited(e) + "; nobody has accepted it"
	case e.Kind == event.Reset:
		text = resetSentence(e)
	case e.Kind == event.Purged:
		text = purgedSentence(e)
	case e.Kind == event.Overflow:
		text = overflowSentence(e)
	case e.Kind == event.Accepted && e.State == event.CloseWaited:
		text = "dead on accept: the client had hung up, the server has just accepted a dead peer"
	case e.Kind == event.Accepted && e.State == event.Close:
		text = "dead on accept: the connection had been reset, the server has just accepted a dead peer"
	default:
		return ""
	}
	if e.Flags&event.Recovered != 0 {
		text += " (noticed late)"
	}
	return Mark + " " + text
}

func resetSentence(e *event.Event) string {
	const still = "; accept() returns a dead peer"
	switch {
	case e.Flags&event.AfterFIN != 0:
		return "RESET before accept: the client hung up, then reset, after waiting " + waited(e) + still
	case e.Errno == uint16(unix.ECONNRESET), e.Errno == uint16(unix.EPIPE), e.Errno == 0:
		return "RESET before accept: the client aborted after waiting " + waited(e) + still
	case e.Errno == uint16(unix.ETIMEDOUT):
		return "TIMED OUT before accept: the client stopped answering, after waiting " + waited(e) + still
	default:
		return fmt.Sprintf("CLOSED before accept (%s) after waiting %s%s", event.ErrnoName(e.Errno), waited(e), still)
	}
}

func purgedSentence(e *event.Event) string {
	gone := ""
	switch e.State {
	case event.CloseWaited:
		gone = "; it had hung up before"
	case event.Close:
		gone = "; its connection had been reset before"
	default:
		return "PURGED: the listener was closed after this client had waited " + waited(e) + "; it was never accepted"
	}
	return "PURGED: the listener was closed " + waited(e) + " after this client was queued, never accepted" + gone
}

func overflowSentence(e *event.Event) string {
	full := fmt.Sprintf("OVERFLOW: the queue is full (%s of %s+1), ", Count(e.Depth), Count(e.Backlog))
	switch {
	case e.Flags&event.LastACK == 0:
		return full + "the client's SYN was dropped: it will try again after 1, 3, 7 s"
	case e.Flags&event.Aborted != 0:
		return full + "the client believed that it was connected, and was sent an RST"
	default:
		return full + "the handshake's last ACK was dropped: the client believes that it is connected, and what it sends goes unanswered"
	}
}

func waited(e *event.Event) string {
	wait, ok := e.Wait()
	if !ok {
		return "an unknown time"
	}
	return Duration(wait)
}

// appendAcceptor appends "python3[123/125]", process and thread, or without
// thread "python3[123]"; nothing if it is not known. In less than room columns
// the name is cut and not the numbers; room 0: any.
func appendAcceptor(b []byte, e *event.Event, thread bool, room int) []byte {
	if e.PID == 0 {
		return b
	}
	var scratch [32]byte
	ids := strconv.AppendUint(append(scratch[:0], '['), uint64(e.PID), 10)
	if thread {
		ids = strconv.AppendUint(append(ids, '/'), uint64(e.TID), 10)
	}
	ids = append(ids, ']')
	start := len(b)
	name := e.Comm[:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	b = appendClean(b, name)
	if room > 0 {
		b = cut(b, start, max(room-len(ids), 1))
	}
	return append(b, ids...)
}

// appendClean appends a thread's name without anything that a terminal would
// obey, or that would move or hide what stands next to it: any process may call
// itself anything.
func appendClean(b, name []byte) []byte {
	for len(name) > 0 {
		r, size := utf8.DecodeRune(name)
		if r < ' ' || r == 0x7f || r >= 0x80 && (r == utf8.RuneError || unicode.In(r, unseen...)) {
			r = '?'
		}
		b = utf8.AppendRune(b, r)
		name = name[size:]
	}
	return b
}

// unseen are controls, formats such as U+202E, which turns a line around, and
// separators of lines.
var unseen = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp}

// Clean is name without anything that a terminal would obey.
func Clean(name string) string { return string(appendClean(nil, []byte(name))) }

// places is the room in the queues of so many listeners, whose backlogs sum up
// to backlog: "128+1 places". Each holds one more than its backlog
// (sk_acceptq_is_full, include/net/sock.h, tests with >).
func places(backlog uint32, listeners int) string {
	return fmt.Sprintf("%s+%d places", Count(backlog), listeners)
}

// ago is how long before now something was, in ns of one clock.
func ago(now, then int64) time.Duration { return time.Duration(max(0, now-then)) }
