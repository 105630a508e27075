package ui

import (
	"fmt"

	"acceptwatch/internal/event"
)

// Header is what a trace says before its first line.
type Header struct {
	Mode   string   // "fentry"
	Why    string   // why this mode, in words; may be empty
	Limits []string // what it cannot see, a sentence each
	Filter string   // what is selected, in words
	Lines  string   // which lines are shown, in words; empty: all
	NetNS  uint32   // inode of this process's own network namespace; 0: not known

	Listeners []Listener
	Waiting   string // "nothing listens on port 8000", or what else is not there yet; may be empty
	// Oldest are entries of the queues, oldest first, of Queued in all.
	Oldest []event.Event
	Queued int
	Hint   string // on how to end it; may be empty
}

// mostListeners is how many listeners a header names.
const mostListeners = 20

// Header prints the header, without the column titles.
func (p *Printer) Header(h *Header) {
	p.print(strong, "", "acceptwatch traces "+h.Filter+" in mode "+h.Mode)
	if h.Why != "" {
		p.print(faint, "", "why this mode: "+h.Why)
	}
	for _, limit := range h.Limits {
		p.print(slow, "", "limit: "+limit)
	}
	if h.Lines != "" {
		p.print(plain, "", "shows only "+h.Lines+"; the summary counts everything")
	}
	if h.Waiting != "" {
		p.print(slow, "", h.Waiting+"; waiting for it")
	}
	p.headerListeners(h)
	p.headerQueued(h)
	if h.Hint != "" {
		p.print(faint, "", h.Hint)
	}
	p.buf = append(p.buf, '\n')
}

func (p *Printer) headerListeners(h *Header) {
	if len(h.Listeners) == 0 {
		return
	}
	p.print(plain, "", "listening now:")
	empty := 0
	for i := range h.Listeners {
		l := &h.Listeners[i]
		if i >= mostListeners && l.Depth == 0 {
			empty++
			continue
		}
		text := l.Name(h.NetNS) + "  " + l.queue(true)
		if len(l.Owners) > 0 {
			text += "; held by " + owners(l.Owners)
		}
		s := plain
		if l.Unaccepted.Dead() > 0 {
			s, text = problem, Mark+" "+text
		}
		p.print(s, "  ", text)
	}
	if empty > 0 {
		p.print(faint, "  ", "and "+Count(empty)+" more with nothing queued")
	}
}

func (p *Printer) headerQueued(h *Header) {
	if len(h.Oldest) == 0 {
		return
	}
	title := "already queued, oldest first:"
	if h.Queued > len(h.Oldest) {
		title = fmt.Sprintf("already queued, the oldest %d of %s:", len(h.Oldest), Count(h.Queued))
	}
	p.print(plain, "", title)
	for i := range h.Oldest {
		e := &h.Oldest[i]
		age := "for an unknown time"
		if wait, known := e.Wait(); known {
			age = "for " + Duration(wait)
		}
		text := string(appendAddr(nil, e.Local)) + " from " + string(appendAddr(nil, e.Peer)) + " " + age
		s := plain
		switch e.State {
		case event.CloseWaited:
			s, text = problem, Mark+" "+text+", CLOSE_WAIT: the client has hung up"
		case event.Close:
			s, text = problem, Mark+" "+text+", CLOSE: the connection was reset"
		}
		if e.Unread > 0 {
			text += ", " + Plural(e.Unread, "byte") + " unread"
		}
		p.print(s, "  ", text)
	}
}
