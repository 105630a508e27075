package ui

import (
	"fmt"
	"slices"
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
	// AcceptErrors are failed accepts at listeners that are not known.
	AcceptErrors []listener.AcceptFailures
	Losses       []listener.Loss
	Notes        []string // on what could not be found out for the summary itself
}

// Summary prints the summary, after what Line still held back.
func (p *Printer) Summary(s *Summary) {
	if held := p.limiter.held; held > 0 {
		p.limiter.held = 0
		p.more(held)
	}
	p.moreRefused(p.floods.drain())
	p.layout = layoutFor(p.opt.Width())
	p.buf = append(p.buf, '\n')
	p.print(strong, "", "summary of "+Duration(s.Duration)+" in mode "+s.Mode)
	listed := slices.ContainsFunc(s.Listeners, func(l Listener) bool { return len(l.AcceptErrors) > 0 })
	if !listed {
		p.elsewhere(s.AcceptErrors)
	}
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
	if listed {
		p.elsewhere(s.AcceptErrors)
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

// elsewhere prints the failed accepts at listeners that are not known: before
// the listeners, unless there are worse ones with failures of their own.
func (p *Printer) elsewhere(all []listener.AcceptFailures) {
	if len(all) == 0 {
		return
	}
	p.buf = append(p.buf, '\n')
	p.print(strong, "", "at listeners that are not known")
	p.acceptErrors(all)
}

func listeners(n int) string { return Plural(n, "listener") }

// idle says that there is nothing to tell.
func (l *Listener) idle() bool {
	return l.Enqueued == 0 && l.Accepted == 0 && l.Purged == 0 && l.Depth == 0 && l.Dead() == 0 &&
		l.Unaccepted.Dead() == 0 && len(l.Held) == 0 && l.Stalls == 0 &&
		l.Overflow() == 0 && len(l.AcceptErrors) == 0 && l.MigratedIn+l.MigratedOut == 0
}

func (p *Printer) listener(l *Listener, s *Summary) {
	name := l.Name(s.NetNS)
	switch {
	case len(l.Owners) == 0:
	case l.Open == 0:
		name += ", was held by " + owners(l.Owners)
	default:
		name += ", held by " + owners(l.Owners)
	}
	p.print(strong, "", name)

	p.acceptErrors(l.AcceptErrors)
	if l.OverflowSYN > 0 {
		p.row(problem, Count(l.OverflowSYN), "refused: SYN", "the queue was full; these clients try again "+
			"after 1, 3, 7 s, and each try counts")
	}
	if l.OverflowACK > 0 {
		p.row(problem, Count(l.OverflowACK), "refused: ACK", "the queue was full at the handshake's last ACK; "+
			"these clients believe that they are connected, and each try counts")
	}
	if l.QueuedAtAttach > 0 {
		about := ""
		if l.DeadAtAttach > 0 {
			about = "of these " + Count(l.DeadAtAttach) + " with a client that had given up already"
		}
		p.row(plain, Count(l.QueuedAtAttach), "queued at start", about)
	}
	p.row(plain, Count(l.Accepted), "accepted", accepted(l))
	if l.AcceptedDead > 0 {
		of := "of the accepted"
		if l.Sampled {
			of = "of those seen waiting"
		}
		p.row(problem, Count(l.AcceptedDead), "dead on accept", of+": the client had gone before")
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
	if l.MigratedIn > 0 {
		p.row(plain, Count(l.MigratedIn), "migrated in", "from a listener that was closed; their waits go on")
	}
	if l.MigratedOut > 0 {
		p.row(plain, Count(l.MigratedOut), "migrated out", "to another listener of the group when theirs was closed")
	}
	if l.Purged > 0 {
		p.row(problem, Count(l.Purged), "purged", "the listener was closed with these still queued")
	}
	if l.Stalls > 0 {
		about := "in all " + Duration(l.Stalled) + " with connections queued and no accept"
		if l.StalledSince != 0 {
			about += "; the last one goes on, for " + Duration(ago(l.Time, l.StalledSince))
		}
		name := "stalls"
		if l.Stalls == 1 {
			name = "stall"
			about = strings.Replace(about, "the last one goes on", "it goes on", 1)
		}
		p.row(problem, Count(l.Stalls), name, about)
	}
	if l.Open > 0 {
		p.row(plain, Count(l.Depth), "still queued", "of "+l.queue(false))
	}
	p.deepest(l, s.Mode)
	p.closeWait(l)
	if l.Lost > 0 {
		p.row(slow, Count(l.Lost), "unexplained", "between what entered the queue and what left it")
	}
}

// acceptErrors prints for whom accept() failed, and once for each errno what to
// do about it.
func (p *Printer) acceptErrors(all []listener.AcceptFailures) {
	const most = 6
	advised := make(map[uint16]bool)
	for i := range all {
		f := &all[i]
		if i == most {
			var calls uint64
			for _, rest := range all[i:] {
				calls += rest.Count
			}
			p.row(problem, Count(calls), "accept() failed", "in further processes")
			return
		}
		about := failureOf(f.Errno, failureWho(f)) + "; the last time at " + p.renderTime(f.Last)
		if _, remedy := failureWords(f.Errno); remedy != "" && !advised[f.Errno] {
			advised[f.Errno] = true
			about += "; " + remedy
		}
		p.row(problem, Count(f.Count), "accept() failed", about)
	}
}

// deepest prints the high-water mark.
func (p *Printer) deepest(l *Listener, mode string) {
	if l.MaxDepth == 0 {
		if l.Full > 0 { // how deep the queue was then is not known
			p.row(problem, Duration(l.Full), "full", "in all")
		}
		return
	}
	s, about := plain, "of "+places(l.MaxDepthBacklog, 1)
	if l.Open+int(l.Closed) > 1 {
		about += " in one queue"
	}
	if mode == listener.Restricted {
		about += " when somebody looked"
	}
	if l.MaxDepth > l.MaxDepthBacklog || l.Full > 0 {
		s = problem
		about += ": full"
	}
	if l.Full > 0 {
		about += " for " + Duration(l.Full) + " in all"
	}
	p.row(s, Count(l.MaxDepth), "deepest", about)
}

// closeWait tells the two causes of CLOSE_WAIT apart.
func (p *Printer) closeWait(l *Listener) {
	if n := l.Unaccepted.CloseWait; n > 0 {
		p.row(problem, Count(n), "CLOSE_WAIT", "not accepted: still in the accept queue, no process has them")
	}
	for _, held := range l.Held {
		p.row(problem, Count(held.Sockets), "CLOSE_WAIT", held.words())
	}
}

// words say who has them, and what that means.
func (h *Held) words() string {
	text := "held open by somebody who could not be found"
	if h.Owner.PID != 0 {
		text = fmt.Sprintf("held open by %s[%d] as fds %s", Clean(h.Owner.Comm), h.Owner.PID, fdRanges(h.Owner.FDs))
	}
	text += ": accepted, never closed (a descriptor leak of the server)"
	if h.Silent > 0 {
		text += "; nothing has come from the longest silent client for " + Duration(h.Silent)
	}
	return text
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
	text, any := LossesText(all)
	if !any {
		p.print(faint, "", text)
		return
	}
	p.print(slow, "", text)
}
