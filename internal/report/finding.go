package report

import (
	"fmt"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/ui"
)

// listener says all that went wrong at a listener, in the order of cause and
// effect.
func (w words) listener(l *Listener) []Finding {
	var all []Finding
	add := func(kind FindingKind, text string) { all = append(all, Finding{kind, w.name(l), text}) }
	if s := w.longest(l); s != nil {
		add(FoundStall, w.stall(l, s))
	}
	for i := range l.AcceptErrors {
		if i == 2 {
			break
		}
		add(FoundFailed, w.failure(&l.AcceptErrors[i])+".")
	}
	if n := l.DeadAtAttach; n > 0 {
		add(FoundDead, fmt.Sprintf("%s dead in the queue already when the recording began.", quantity.Of(n, "[connection was|connections were]")))
	}
	if n := l.Dead(); n > 0 {
		text := fmt.Sprintf("%s before anyone accepted the connection", quantity.Of(n, "[client gave up|clients gave up]"))
		switch {
		case l.AcceptedDead >= n:
			text += "; the server accepted all of them later, dead"
		case l.AcceptedDead > 0 && w.sampled():
			text += fmt.Sprintf("; the server accepted at least %s of them later, dead", ui.Count(l.AcceptedDead))
		case l.AcceptedDead > 0:
			text += fmt.Sprintf("; the server accepted %s of them later, dead", ui.Count(l.AcceptedDead))
		}
		add(FoundDead, text+".")
	}
	if text := patienceWords(&l.Patience); text != "" {
		add(FoundPatience, text)
	}
	if l.Overflow() > 0 {
		add(FoundOverflow, w.overflow(l))
	}
	if n := l.Purged; n > 0 {
		add(FoundPurged, fmt.Sprintf("%s when the listener was closed, and never accepted.", quantity.Of(n, "[connection was queued|connections were queued]")))
	}
	if n := l.Unaccepted.Dead(); n > 0 {
		add(FoundQueued, fmt.Sprintf("%s still in the queue at the end.", quantity.Of(uint64(n), "[dead connection was|dead connections were]")))
	}
	if len(l.Held) > 0 {
		add(FoundHeld, w.held(l))
	}
	return all
}

// notCalled is why nobody accepted, when accept() was not seen to fail.
func (w words) notCalled() string {
	if w.sampled() {
		return "whether accept() was called is not seen in mode restricted"
	}
	return "no accept() failed, so nobody called it"
}

func (w words) stall(l *Listener, s *Stall) string {
	text := fmt.Sprintf("Nothing was accepted for %s (%s), with up to %s in a queue of %s + 1 places",
		ui.Duration(s.Length()), w.span(s.From, s.To), ui.Plural(uint64(s.Depth), "connection"), ui.Count(s.Backlog))
	switch {
	case s.Errno != 0:
		text += "; accept() was called and failed"
	default:
		text += "; " + w.notCalled()
	}
	if owners := l.ownerList(); owners != "" {
		text += ". " + owners + " should have accepted"
	}
	if s.Diagnosis != nil {
		v := &s.Diagnosis.Verdicts[0]
		text += ". Why it did not: " + ui.Clean(v.Summary) + " (confidence: " + v.Confidence.String() + ")"
	}
	if threads := l.threadList(); threads != "" {
		text += ". When somebody looked last, its threads were: " + threads
	}
	switch {
	case s.Ended == event.EndedByAccept && s.By.PID != 0:
		text += ". It ended when " + s.By.String() + " accepted again"
	case s.Ended == event.EndedByAccept:
		text += ". It ended by an accept"
	case s.Ended == event.EndedByClose:
		text += ". It ended when the listener was closed"
	case s.Ended == event.EndedByEmpty:
		text += ". It ended because the queue became empty"
	case w.r.Cut:
		text += ". It went on at the end of this part of the recording"
	default:
		text += ". It went on at the end of the recording"
	}
	if l.Stalls > 1 {
		text += fmt.Sprintf(". In all there were %s stalls of %s together", ui.Count(l.Stalls), ui.Duration(l.Stalled))
	}
	return text + "."
}

// failure is "accept() failed 64,596 times with EMFILE (too many open files) in
// gunicorn[4711]".
func (w words) failure(f *listener.AcceptFailures) string {
	where := " in further processes"
	if f.PID != 0 {
		where = " in " + Who{PID: f.PID, Comm: f.Comm}.String()
	}
	return fmt.Sprintf("accept() failed %s with %s%s, the last time at %s",
		ui.Plural(f.Count, "time"), errnoWords(f.Errno), where, w.clock(f.Last))
}

func (w words) overflow(l *Listener) string {
	text := fmt.Sprintf("%s because the queue was full", quantity.Of(l.Overflow(), "[attempt to connect was refused|attempts to connect were refused]"))
	if l.Full > 0 {
		text += " (for " + ui.Duration(l.Full) + " in all)"
	}
	if l.OverflowACK > 0 {
		text += fmt.Sprintf("; at %s of them, the client believes that it is connected", ui.Count(l.OverflowACK))
	}
	return text + ". What a client sends again counts again."
}

func (w words) held(l *Listener) string {
	sockets, who, was := uint64(0), "", "were"
	for _, h := range l.Held {
		sockets += uint64(h.Sockets)
		if who == "" && h.Owner.PID != 0 {
			who = fmt.Sprintf(" by %s[%d]", ui.Clean(h.Owner.Comm), h.Owner.PID)
		}
	}
	if sockets == 1 {
		was = "was"
	}
	return fmt.Sprintf("%s that the server had accepted %s still open%s, though the client had closed: a descriptor leak of the server.",
		ui.Plural(sockets, "connection"), was, who)
}
