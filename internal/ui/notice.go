package ui

import (
	"strings"

	"acceptwatch/internal/event"
)

// appendNotice appends what is about a listener and not about one connection,
// as a sentence, with a line feed.
func (r *renderer) appendNotice(b []byte, l *Line) []byte {
	s := plain
	switch {
	case l.Kind == event.StallEnd:
		s = relief
	case l.Kind == event.Stall, l.Kind == event.AcceptError && !l.endsListening():
		s = alarm
	}
	label, words := noticeWords(l, r.renderTime)
	text := string(r.appendClock(nil, l.Time)) + " " + label + " " + words
	if r.edge > 0 {
		text = string(appendWrapped(nil, text, "", "   ", r.edge))
	}
	// Painted last, because colour has no width.
	before, after, _ := strings.Cut(text, label)
	b = append(b, before...)
	b = r.end(append(r.append(b, s), label...), s)
	return append(append(b, after...), '\n')
}

func (r *renderer) renderTime(ns int64) string { return r.wall(ns).Format("15:04:05") }

// noticeWords are the label, in capitals when somebody should look, and the
// rest of the sentence.
func noticeWords(l *Line, clock func(int64) string) (label, words string) {
	listener := string(appendAddr(nil, l.listener()))
	switch l.Kind {
	case event.AcceptError:
		if l.endsListening() {
			return "accept() failed", "with " + acceptErrorWords(l) + "; so it ends when a server shuts its listener down"
		}
		return Mark + " accept() FAILS", "with " + acceptErrorWords(l)
	case event.Stall:
		words = listener + ": " + taken(l.Event)
		since := Duration(ago(l.Time, l.Queued))
		switch {
		case l.Errno == 0 && l.Flags&event.Sampled != 0:
			words += ", nothing accepted for " + since
		case l.Errno == 0:
			words += ", nobody has called accept() for " + since
		default:
			who := string(appendAcceptor(nil, l.Event, false, 0))
			words += ", nothing accepted for " + since + ": accept() FAILS with " + failureOf(l.Errno, who) +
				"; " + Plural(l.Repeats, "time") + " so far"
		}
		return "STALL", words + " (" + lastAccept(&l.LastAccept, clock) + ")"
	case event.StallEnd:
		words = listener + ": after " + Duration(ago(l.Time, l.Queued)) + ", "
		switch l.Ended {
		case event.EndedByAccept:
			if l.PID != 0 {
				words += string(appendAcceptor(nil, l.Event, true, 0)) + " accepts again"
			} else {
				words += "somebody accepts again"
			}
		case event.EndedByClose:
			words += "because the listener was closed"
		default:
			words += "because the queue is empty; nobody was seen to accept"
		}
		if l.Depth > 0 && l.Ended != event.EndedByClose {
			words += "; " + taken(l.Event)
		}
		return "STALL-END", words
	default:
		words = listener
		if l.Depth > 0 {
			words += ": " + Plural(l.Depth, "connection") + " still queued, which nobody will serve"
		}
		return "listener closed", words
	}
}

func taken(e *event.Event) string {
	return Count(e.Depth) + " of " + places(e.Backlog, 1) + " taken"
}

func lastAccept(last *LastAccept, clock func(int64) string) string {
	if last.Time == 0 {
		return "no accept seen since the start"
	}
	by := appendAcceptor(nil, &event.Event{PID: last.PID, TID: last.TID, Comm: last.Comm}, true, 0)
	if len(by) > 0 {
		by = append([]byte("by "), append(by, ' ')...)
	}
	return "last accept " + string(by) + "at " + clock(last.Time)
}
