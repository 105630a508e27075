package ui

import (
	"bytes"
	"strings"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// What follows is what a Printer prints, as plain text without line feeds, for a
// screen that places and colours it itself.

// LineText is an event as the lines of a trace, of at most width columns.
func LineText(l *Line, width int, wall func(int64) time.Time) []string {
	r := renderer{layout: layoutFor(width), wall: wall}
	return split(r.appendLine(nil, l))
}

// TitlesText is the line of column titles of LineText.
func TitlesText(width int) string {
	l := layoutFor(width)
	return string(l.appendColumns(nil))
}

// DiagnosisText is a diagnosis as lines of at most width columns.
func DiagnosisText(d *Diagnosis, width int, wall func(int64) time.Time) []string {
	var out bytes.Buffer
	p := NewPrinter(Options{Out: &out, Terminal: true, Width: func() int { return width }, Wall: wall})
	p.Diagnosis(d)
	_ = p.Flush() // memory takes everything
	return split(out.Bytes())
}

// Wrapped is text in lines of at most width columns, those after the first
// indented.
func Wrapped(text, indent string, width int) []string {
	return split(appendWrapped(nil, text, "", indent, width))
}

func split(text []byte) []string {
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// Problem says that somebody should look at this one.
func (l *Line) Problem() bool { return l.isProblem() }

// OwnersText lists processes as "python3[123] of web.service and 6 more".
func OwnersText(all []owner.Process) string { return owners(all) }

// QueueText is how full a queue is, of what, and since when: "12 of 128+1 places
// taken: 9 ESTABLISHED, 3 CLOSE_WAIT; the oldest for 41.2 s".
func (l *Listener) QueueText() string { return l.queue(true) }

// LastAcceptText is "last accept by nginx[12/12] at 14:02:10".
func LastAcceptText(last *LastAccept, wall func(int64) time.Time) string {
	return lastAccept(last, func(ns int64) string { return wall(ns).Format("15:04:05") })
}

// FailureText is for whom accept() failed and why: "EMFILE: python3[123] has no
// free file descriptor (limit RLIMIT_NOFILE)".
func FailureText(f *listener.AcceptFailures) string { return failureOf(f.Errno, failureWho(f)) }

// LossesText is "0 events lost", or "lost: " and what was.
func LossesText(all []listener.Loss) (text string, any bool) {
	for _, loss := range all {
		if loss.Count > 0 {
			text += "; " + loss.String()
		}
	}
	if text == "" {
		return "0 events lost", false
	}
	return "lost: " + text[2:], true
}
