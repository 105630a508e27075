package report

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// words writes sentences.
type words struct {
	r    *Report
	zone *time.Location
}

// clock is a time of day, no finer than what is told needs.
func (w words) clock(ns int64) string {
	layout := time.TimeOnly
	switch length := w.r.Length(); {
	case length < 20*time.Second:
		layout = "15:04:05.000"
	case length > 20*time.Hour:
		layout = "Jan 2 15:04:05"
	}
	return w.r.At(ns).In(w.zone).Format(layout)
}

func (w words) span(from, to int64) string { return w.clock(from) + " – " + w.clock(to) }

// name is that of a listener.
func (w words) name(l *Listener) string { return l.Name(w.r.Header.NetNS) }

// at is the name of the listener at a bound address.
func (w words) at(key listener.Key) string {
	if l := w.r.find(key); l != nil {
		return w.name(l)
	}
	if !key.Addr.IsValid() {
		return "not known"
	}
	return key.Addr.String()
}

// sampled says that accept() was not watched: waits are those of connections that a
// look at the queue caught.
func (w words) sampled() bool { return w.r.Header.Mode == listener.Restricted }

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// String is "gunicorn[4711/4712]".
func (w Who) String() string {
	switch {
	case w.PID == 0:
		return ""
	case w.TID == 0:
		return fmt.Sprintf("%s[%d]", ui.Clean(w.Comm.String()), w.PID)
	}
	return fmt.Sprintf("%s[%d/%d]", ui.Clean(w.Comm.String()), w.PID, w.TID)
}

func (l *Listener) ownerList() string {
	var list []string
	for i, p := range l.Owners {
		if i == 3 {
			return strings.Join(list, ", ") + " and " + ui.Count(len(l.Owners)-i) + " more"
		}
		list = append(list, fmt.Sprintf("%s[%d]", ui.Clean(p.Comm), p.PID))
	}
	return strings.Join(list, ", ")
}

// threadList is what the owners' threads were doing; empty: nobody looked.
func (l *Listener) threadList() string {
	const most = 4
	list := make([]string, 0, most)
	for i, text := range l.Threads {
		if i == most {
			return strings.Join(list, "; ") + " and " + ui.Count(len(l.Threads)-most) + " more"
		}
		list = append(list, ui.Clean(text))
	}
	return strings.Join(list, "; ")
}

// errnoWords is "EMFILE (too many open files)".
func errnoWords(errno uint16) string {
	return event.ErrnoName(errno) + " (" + unix.Errno(errno).Error() + ")"
}

// longest is the longest stall of a listener; nil: none.
func (w words) longest(l *Listener) *Stall {
	for i := range w.r.Stalls {
		if w.r.Stalls[i].Key == l.Key {
			return &w.r.Stalls[i]
		}
	}
	return nil
}

// enumerate is "a, b and c".
func enumerate(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}
