package ui

import (
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/listener"
)

// Summary is what a trace says at its end.
type Summary struct {
	Mode      string
	Duration  time.Duration
	NetNS     uint32 // inode of this process's own network namespace; 0: not known
	Listeners []Listener
	Losses    []listener.Loss
	Notes     []string // on what could not be found out for the summary itself
}

// Summary prints the summary, after what Line still held back.
func (p *Printer) Summary(s *Summary) {
	if held := p.limiter.held; held > 0 {
		p.limiter.held = 0
		p.more(held)
	}
	p.layout = layoutFor(p.opt.Width())
	p.buf = append(p.buf, '\n')
	p.print(strong, "", "summary of "+Duration(s.Duration)+" in mode "+s.Mode)
	idle := 0
	for i := range s.Listeners {
		l := &s.Listeners[i]
		if l.idle() {
			idle++
			continue
		}
		p.buf = append(p.buf, '\n')
		p.listener(l, s)
	}
	switch {
	case len(s.Listeners) == 0:
		p.print(plain, "", "no listener was seen")
	case idle == len(s.Listeners):
		p.print(plain, "", "nothing happened at "+listeners(idle))
	case idle > 0:
		p.buf = append(p.buf, '\n')
		p.print(faint, "", "and "+listeners(idle)+" at which nothing happened")
	}
	p.buf = append(p.buf, '\n')
	for _, note := range s.Notes {
		p.print(slow, "", "note: "+note)
	}
	p.losses(s.Losses)
}

func listeners(n int) string { return Plural(n, "listener") }

// idle says that there is nothing to tell.
func (l *Listener) idle() bool {
	return l.Enqueued == 0 && l.Accepted == 0 && l.Purged == 0 && l.Depth == 0 && l.Dead() == 0 &&
		l.Unaccepted.Dead() == 0 && len(l.Held) == 0 && l.Stalls == 0
}

func (p *Printer) listener(l *Listener, s *Summary) {
	name := l.Name(s.NetNS)
	if len(l.Owners) > 0 {
		name += ", held by " + owners(l.Owners)
	}
	p.print(strong, "", name)

	if l.QueuedAtAttach > 0 {
		about := ""
		if l.DeadAtAttach > 0 {
			about = "of these " + Count(l.DeadAtAttach) + " with a client that had given up already"
		}
		p.row(plain, Count(l.QueuedAtAttach), "queued at start", about)
	}
	p.row(plain, Count(l.Accepted), "accepted", waits(&l.Wait, l.Folded))
	if l.AcceptedDead > 0 {
		p.row(problem, Count(l.AcceptedDead), "dead on accept", "of the accepted: the client had gone before")
	}
	if l.CloseWait > 0 {
		p.row(problem, Count(l.CloseWait), "close_wait", "the client hung up before accept")
	}
	if l.Reset > 0 {
		about := "reset or timed out before accept"
		if l.ResetAfterFIN > 0 {
			about += "; of these " + Count(l.ResetAfterFIN) + " after they had hung up"
		}
		p.row(problem, Count(l.Reset), "reset", about)
	}
	if l.Purged > 0 {
		p.row(problem, Count(l.Purged), "purged", "the listener was closed with these still queued")
	}
	if l.Stalls > 0 {
		about := "in all " + Duration(l.Stalled) + " with connections queued and no accept"
		if l.StalledSince != 0 {
			about += "; the last one goes on, for " + Duration(ago(l.Time, l.StalledSince))
		}
		p.row(problem, Count(l.Stalls), "stalls", about)
	}
	if l.Open > 0 {
		p.row(plain, Count(l.Depth), "still queued", "of "+l.queue(false))
	}
	p.closeWait(l)
	if l.Lost > 0 {
		p.row(slow, Count(l.Lost), "unexplained", "between what entered the queue and what left it")
	}
}

func waits(w *listener.Waits, folded bool) string {
	if w.Count == 0 {
		if w.Max == 0 {
			return ""
		}
		return "waited at most " + Duration(w.Max)
	}
	text := fmt.Sprintf("waited p50 %s, p90 %s, p99 %s, max %s",
		Duration(w.P50), Duration(w.P90), Duration(w.P99), Duration(w.Max))
	if folded {
		text += " (with waits of other listeners: there was no histogram left for this one)"
	}
	return text
}

// closeWait tells the two causes of CLOSE_WAIT apart.
func (p *Printer) closeWait(l *Listener) {
	if n := l.Unaccepted.CloseWait; n > 0 {
		p.row(problem, Count(n), "CLOSE_WAIT", "not accepted: still in the accept queue, no process has them")
	}
	for _, held := range l.Held {
		whose := "somebody who could not be found"
		if held.Owner.PID != 0 {
			whose = fmt.Sprintf("%s[%d] as fds %s", Clean(held.Owner.Comm), held.Owner.PID, fdRanges(held.Owner.FDs))
		}
		p.row(problem, Count(held.Sockets), "CLOSE_WAIT", "held open by "+whose+
			": accepted, never closed (a descriptor leak of the server)")
	}
}

// row prints "     12,431 accepted        waited p50 ...".
func (p *Printer) row(s style, count, name, about string) {
	const hanging = "                             "
	b := appendRight(nil, count, 11)
	b = padRight(append(append(b, ' '), name...), 0, len(hanging)-1)
	if about != "" {
		edge := p.edge
		if edge == 0 {
			edge = 1 << 20
		}
		b = append(b, ' ')
		wrapped := appendWrapped(nil, about, hanging, hanging, edge)
		b = append(b, wrapped[len(hanging):]...)
	}
	p.buf = append(p.buf, p.paint(s, strings.TrimRight(string(b), " "))...)
	p.buf = append(p.buf, '\n')
}

// losses prints the closing line.
func (p *Printer) losses(all []listener.Loss) {
	text := ""
	for _, loss := range all {
		if loss.Count == 0 {
			continue
		}
		text += "; " + Count(loss.Count) + " " + loss.Text
	}
	if text == "" {
		p.print(faint, "", "0 events lost")
		return
	}
	p.print(slow, "", "lost: "+text[2:])
}
