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

// Verdict is what happened, in words.
type Verdict struct {
	Headline string // one sentence
	Bad      bool   // clients were not served, or had to wait for a server that did not accept
	Findings []Finding
}

// Finding is one thing that happened at one listener, or at all.
type Finding struct {
	Kind     FindingKind
	Listener string // its name; empty: of all, or not of a known one
	Text     string // a sentence, which makes sense after the listener's name
}

// FindingKind says what a Finding is about: a word for programs.
type FindingKind string

const (
	FoundStall    FindingKind = "stall"
	FoundFailed   FindingKind = "accept_error"
	FoundDead     FindingKind = "dead"
	FoundPatience FindingKind = "patience"
	FoundOverflow FindingKind = "overflow"
	FoundPurged   FindingKind = "purged"
	FoundQueued   FindingKind = "queued"
	FoundHeld     FindingKind = "held_close_wait"
	FoundFine     FindingKind = "fine"
	FoundMore     FindingKind = "more"
	FoundLost     FindingKind = "lost"
)

// mostTold is how many listeners the findings tell of.
const mostTold = 4

// Verdict says what happened. Times of day are those of a place.
func (r *Report) Verdict(zone *time.Location) Verdict {
	w := words{r, zone}
	var v Verdict
	told, more := 0, 0
	for i := range r.Listeners {
		l := &r.Listeners[i]
		if !l.troubled() {
			continue
		}
		if told == mostTold {
			more++
			continue
		}
		told++
		found := w.listener(l)
		if v.Headline == "" {
			v.Headline, v.Bad = w.headline(l), true
		}
		v.Findings = append(v.Findings, found...)
	}
	if more > 0 {
		v.Findings = append(v.Findings, Finding{FoundMore, "", fmt.Sprintf("%s had trouble, too.", counted(more, "more listener", "more listeners"))})
	}
	for i := range r.AcceptErrors {
		f := &r.AcceptErrors[i]
		v.Findings = append(v.Findings, Finding{FoundFailed, "", "At a listener that is not known, " + w.failure(f) + "."})
		if v.Headline == "" {
			v.Headline, v.Bad = w.failure(f)+".", true
		}
		if i == mostTold-1 {
			break
		}
	}
	fine := w.fine()
	switch {
	case v.Headline == "" && fine == "":
		v.Headline = "Nothing happened at " + counted(len(r.Listeners), "listener", "listeners") + " in " + ui.Duration(r.Length()) + "."
	case v.Headline == "":
		v.Headline = "Nothing went wrong in " + ui.Duration(r.Length()) + ": " + fine
	case fine != "":
		v.Findings = append(v.Findings, Finding{FoundFine, "", "Without trouble: " + fine})
	}
	if lost := w.lost(); lost != "" {
		v.Findings = append(v.Findings, Finding{FoundLost, "", lost})
	}
	return v
}

// troubled says that something went wrong at a listener.
func (l *Listener) troubled() bool {
	return l.harmed() > 0 || l.Failed() > 0 || l.Stalls > 0 || l.Unaccepted.Dead() > 0 || len(l.Held) > 0
}

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

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func counted[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return ui.Count(n) + " " + many
}

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

// headline says the worst of a listener that has trouble.
func (w words) headline(l *Listener) string {
	var text string
	s := w.longest(l)
	switch {
	case s != nil && s.Errno != 0:
		text = fmt.Sprintf("%s accepted nothing for %s, because accept() failed with %s", w.name(l), ui.Duration(s.Length()), errnoWords(s.Errno))
	case s != nil:
		text = fmt.Sprintf("%s accepted nothing for %s, while connections were queued", w.name(l), ui.Duration(s.Length()))
	case l.Failed() > 0:
		text = "At " + w.name(l) + ", " + w.failure(&l.AcceptErrors[0])
	case l.Overflow() > 0:
		text = "The queue of " + w.name(l) + " was full"
	case l.Dead()+l.DeadAtAttach > 0:
		text = w.name(l) + " accepted too late"
	case l.Purged > 0:
		text = w.name(l) + " was closed with connections queued"
	case len(l.Held) > 0:
		return "At " + w.name(l) + ", " + w.held(l)
	default:
		text = w.name(l) + " has dead connections in its queue"
	}
	var harm []string
	if n := l.Dead() + l.DeadAtAttach; n > 0 {
		harm = append(harm, counted(n, "client gave up", "clients gave up")+" in the queue")
	}
	if n := l.Overflow(); n > 0 {
		harm = append(harm, counted(n, "attempt to connect was refused", "attempts to connect were refused"))
	}
	if n := l.Purged; n > 0 {
		harm = append(harm, counted(n, "queued connection was closed", "queued connections were closed"))
	}
	if len(harm) > 0 {
		text += ": " + enumerate(harm)
	}
	return text + "."
}

// enumerate is "a, b and c".
func enumerate(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

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
		add(FoundDead, fmt.Sprintf("%s dead in the queue already when the recording began.", counted(n, "connection was", "connections were")))
	}
	if n := l.Dead(); n > 0 {
		text := fmt.Sprintf("%s before anyone accepted the connection", counted(n, "client gave up", "clients gave up"))
		switch {
		case l.AcceptedDead >= n:
			text += "; the server accepted all of them later, dead"
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
		add(FoundPurged, fmt.Sprintf("%s when the listener was closed, and never accepted.", counted(n, "connection was queued", "connections were queued")))
	}
	if n := l.Unaccepted.Dead(); n > 0 {
		add(FoundQueued, fmt.Sprintf("%s still in the queue at the end.", counted(uint64(n), "dead connection was", "dead connections were")))
	}
	if len(l.Held) > 0 {
		add(FoundHeld, w.held(l))
	}
	return all
}

// notCalled is why nobody accepted, when accept() was not seen to fail.
func (w words) notCalled() string {
	if w.r.Header.Mode == restricted {
		return "whether accept() was called is not seen in mode restricted"
	}
	return "no accept() failed, so nobody called it"
}

// restricted is the mode in which failed accepts and refusals are not counted.
const restricted = "restricted"

func (w words) stall(l *Listener, s *Stall) string {
	text := fmt.Sprintf("Nothing was accepted for %s (%s), with up to %s in a queue of %s + 1 places",
		ui.Duration(s.Length()), w.span(s.From, s.To), counted(uint64(s.Depth), "connection", "connections"), ui.Count(s.Backlog))
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
		counted(f.Count, "time", "times"), errnoWords(f.Errno), where, w.clock(f.Last))
}

func (w words) overflow(l *Listener) string {
	text := fmt.Sprintf("%s because the queue was full", counted(l.Overflow(), "attempt to connect was refused", "attempts to connect were refused"))
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
		counted(sockets, "connection", "connections"), was, who)
}

// patienceWords says what the waits of those that gave up have in common;
// empty: nothing.
func patienceWords(p *Patience) string {
	if len(p.Clusters) == 0 {
		return ""
	}
	var list []string
	for _, c := range p.Clusters {
		list = append(list, fmt.Sprintf("%.0f %% after about %s", 100*c.Share, ui.Duration(c.Mean)))
	}
	text := "Of those that gave up, " + enumerate(list) + " in the queue"
	if p.Clusters[0].Share >= 0.5 {
		text += ": this looks like a timeout of the client"
	}
	return text + "."
}

// fine says how it was at the listeners without trouble; empty: nothing
// happened there.
func (w words) fine() string {
	var n int
	var accepted uint64
	waits := new(listener.Histogram)
	for i := range w.r.Listeners {
		if l := &w.r.Listeners[i]; !l.troubled() && l.Accepted > 0 {
			n++
			accepted += l.Accepted
			if !l.Folded {
				waits.Merge(l.Wait.Histogram)
			}
		}
	}
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("%s accepted %s", counted(n, "listener", "listeners"), counted(accepted, "connection", "connections"))
	if waits.Count() > 0 {
		text += ", 99 % of them within " + ui.Duration(waits.Quantile(0.99))
	}
	return text + "."
}

// lost says what this report is missing; empty: nothing.
func (w words) lost() string {
	var list []string
	for _, l := range w.r.Losses {
		if l.Count > 0 {
			list = append(list, ui.Count(l.Count)+" "+l.Text)
		}
	}
	f := &w.r.Flaws
	if f.Damages > 0 {
		list = append(list, "the file is damaged at "+counted(f.Damages, "place", "places"))
	}
	if f.Torn != nil {
		list = append(list, f.Torn.Error())
	}
	if f.Skipped > 0 {
		list = append(list, counted(f.Skipped, "record is", "records are")+" of a later version of the format, and left out")
	}
	if len(list) == 0 {
		return ""
	}
	return "Not everything is known: " + strings.Join(list, "; ") + "."
}
