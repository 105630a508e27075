package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/snapshot"
)

// Snapshot is one look at accept queues.
type Snapshot struct {
	Mode   string // "walk" or "diag"
	Filter string // what is selected, in words
	NetNS  uint32 // inode of this process's own network namespace; 0: not known
	At     time.Time
	Took   time.Duration

	Queues      []Queue // the worst first
	Connections bool    // list the entries
	// Waiting says what does not listen: "nothing listens on port 8000"; may be empty.
	Waiting string
	Losses  []listener.Loss
	Partial bool     // not everything could be looked at: a note tells
	Notes   []string // on what could not be seen
}

// Queue is an accept queue with who has it.
type Queue struct {
	Listener
	Look *snapshot.Queue
}

// busy says that there is something to tell.
func (q *Queue) busy() bool { return q.Depth > 0 || len(q.Held) > 0 }

// Snapshot prints a look.
func (p *Printer) Snapshot(s *Snapshot) {
	p.layout = layoutFor(p.opt.Width())
	of := ""
	if s.Filter != "everything" {
		of = " of " + s.Filter
	}
	p.print(strong, "", "accept queues"+of+" at "+s.At.Format("15:04:05")+", mode "+s.Mode+": "+modeWords(s))
	idle := 0
	for i := range s.Queues {
		q := &s.Queues[i]
		if !q.busy() {
			idle++
			continue
		}
		p.buf = append(p.buf, '\n')
		p.queue(q, s)
	}
	if s.Waiting != "" {
		p.buf = append(p.buf, '\n')
		p.print(slow, "", s.Waiting)
	}
	p.idleQueues(s, idle)
	p.buf = append(p.buf, '\n')
	for _, note := range s.Notes {
		p.print(slow, "", "note: "+note)
	}
	for _, loss := range s.Losses {
		p.print(slow, "", "lost: "+loss.String())
	}
	p.print(faint, "", Plural(len(s.Queues), "listener")+" looked at in "+Duration(s.Took))
}

func modeWords(s *Snapshot) string {
	switch {
	case s.Mode == "walk" && (s.Partial || len(s.Losses) > 0 || slices.ContainsFunc(s.Queues, func(q Queue) bool { return q.Unaccepted.NotLooked > 0 })):
		return "the queues were walked, not all was seen"
	case s.Mode == "walk":
		return "the queues were walked, everything is exact"
	}
	return "sockets were listed, ages are to the kernel's tick, CLOSE is derived"
}

// idleQueues lists the queues without entries.
func (p *Printer) idleQueues(s *Snapshot, idle int) {
	if idle == 0 {
		return
	}
	p.buf = append(p.buf, '\n')
	p.print(plain, "", "nothing queued:")
	listed := 0
	for i := range s.Queues {
		q := &s.Queues[i]
		if q.busy() {
			continue
		}
		if p.opt.Terminal && !p.opt.All && listed == mostListeners {
			p.print(faint, "  ", "and "+Count(idle-listed)+" more (--all lists them)")
			return
		}
		listed++
		text := q.Name(s.NetNS) + "  " + q.queue(false)
		if len(q.Owners) > 0 {
			text += "; held by " + owners(q.Owners)
		}
		if q.Look.Drops > 0 {
			text += "; " + Count(q.Look.Drops) + " dropped so far"
		}
		p.print(plain, "  ", text)
	}
}

func (p *Printer) queue(q *Queue, s *Snapshot) {
	look, u := q.Look, &q.Unaccepted
	name := q.Name(s.NetNS)
	if len(q.Owners) > 0 {
		name += ", held by " + owners(q.Owners)
	}
	p.print(strong, "", name)
	style := plain
	if u.Dead() > 0 || look.Full() {
		style = problem
	}
	if words := p.meaning(q, s.At); words != "" {
		p.print(style, "  ", words)
	}
	p.row(plain, Count(q.Depth), "queued", "of "+places(q.Backlog, q.Open)+fullest(look))
	if u.Established > 0 {
		p.row(plain, Count(u.Established), "ESTABLISHED", "the client is there, and waits")
	}
	if u.SynRecv > 0 {
		p.row(plain, Count(u.SynRecv), "SYN_RECV", "queued before the handshake's end (Fast Open)")
	}
	if u.CloseWait > 0 {
		p.row(problem, Count(u.CloseWait), "CLOSE_WAIT", "the client hung up; not accepted, no process has them")
	}
	if u.Close > 0 {
		about := "the connection was reset"
		if look.Derived {
			about += " (derived: they are in the queue, and not listed)"
		}
		p.row(problem, Count(u.Close), "CLOSE", about)
	}
	if look.Elsewhere > 0 {
		p.row(plain, Count(look.Elsewhere), "more", "came to other addresses")
	}
	if u.NotLooked > 0 {
		p.row(slow, Count(u.NotLooked), "not listed", hiddenWords(look.Hidden))
	}
	if look.Excess > 0 {
		p.row(slow, Count(look.Excess), "in excess", "listed without a process and not in the queue: just accepted, or MPTCP")
	}
	if ages := ageWords(look); ages != "" {
		p.row(plain, "", "ages", ages)
	}
	if look.Unread > 0 {
		p.row(plain, Count(look.Unread), "bytes unread", "")
	}
	if look.Drops > 0 {
		p.row(plain, Count(look.Drops), "dropped so far", "SYNs and last ACKs since the listener was made, most often because "+
			"the queue was full; what a client sends again counts again")
	}
	for i := range q.Held {
		p.row(problem, Count(q.Held[i].Sockets), "CLOSE_WAIT", q.Held[i].words())
	}
	if s.Connections {
		p.connections(look)
	}
}

// fullest says how full the fullest of several queues is, if it is fuller than
// all of them together.
func fullest(look *snapshot.Queue) string {
	one, several := look.Fullest()
	switch {
	case several && one.Depth > 0:
		text := fmt.Sprintf("; the fullest queue holds %s of %s", Count(one.Depth), places(one.Backlog, 1))
		if look.Full() {
			text += ": FULL"
		}
		return text
	case look.Full():
		return ": FULL"
	}
	return ""
}

// connectionColumns is how wide a row of connections is beside the peer.
const connectionColumns = len("  ") + 10 + len("  ") + 11 + len("    ") + 8

func (p *Printer) connections(look *snapshot.Queue) {
	all := look.Connections
	if len(all) == 0 {
		return
	}
	p.print(plain, "  ", "oldest first:")
	peer := len("PEER")
	for i := range all {
		peer = max(peer, len(peerOf(&all[i])))
	}
	if p.edge > 0 { // one long address breaks its own row only
		peer = min(peer, max(len("PEER"), p.edge-connectionColumns))
	}
	row := func(s style, age, state, from, unread string) {
		p.note(s, fmt.Sprintf("  %10s  %-11s  %-*s  %8s", age, state, peer, from, unread))
	}
	row(strong, "AGE", "STATE", "PEER", "UNREAD")
	for i := range all {
		e := &all[i]
		age, s := "?", plain
		if wait, known := e.Wait(); known {
			age = Duration(wait)
		}
		if e.State.Dead() {
			s = problem
		}
		unread := Count(e.Unread)
		if e.Unread == 0 && e.Flags&event.MPTCP != 0 {
			unread = "?"
		}
		row(s, age, e.State.String(), peerOf(e), unread)
	}
	if look.Derived {
		p.print(problem, "  ", "and "+Count(look.Unaccepted.Close)+" that were reset, which sock_diag does not list (derived)")
	}
}

func peerOf(e *event.Event) string {
	if e.Peer.Port() == 0 {
		return "?"
	}
	return string(appendAddr(nil, e.Peer))
}

// Screen is what was printed since the last Flush as one screen of a terminal of
// so many rows, instead of what is there: longer lists are cut.
func (p *Printer) Screen(rows int) {
	lines := strings.Split(strings.TrimSuffix(string(p.buf), "\n"), "\n")
	if rows > 2 && len(lines) > rows-1 {
		more := len(lines) - (rows - 2)
		lines = append(slices.Clone(lines[:rows-2]), p.paint(faint, "... "+Plural(more, "line")+" more"))
	}
	p.buf = append(p.buf[:0], "\x1b[H"...)
	for _, line := range lines {
		p.buf = append(append(p.buf, line...), "\x1b[K\n"...)
	}
	p.buf = append(p.buf, "\x1b[J"...)
}
