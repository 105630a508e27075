package report

import (
	"fmt"
	"strings"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/ui"
)

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
		harm = append(harm, quantity.Of(n, "[client gave up|clients gave up]")+" in the queue")
	}
	if n := l.Overflow(); n > 0 {
		harm = append(harm, quantity.Of(n, "[attempt to connect was refused|attempts to connect were refused]"))
	}
	if n := l.Purged; n > 0 {
		harm = append(harm, quantity.Of(n, "[queued connection was closed|queued connections were closed]"))
	}
	if len(harm) > 0 {
		text += ": " + enumerate(harm)
	}
	return text + "."
}

// fine says how it was at the listeners without trouble; empty: nothing
// happened there.
func (w words) fine() string {
	var n int
	var accepted, seen uint64
	atLeast := false
	waits := new(listener.Histogram)
	for i := range w.r.Listeners {
		if l := &w.r.Listeners[i]; !l.troubled() && l.Accepted > 0 {
			n++
			accepted += l.Accepted
			seen += l.Seen
			atLeast = atLeast || l.AtLeast
			if !l.Folded {
				waits.Merge(l.Wait.Histogram)
			}
		}
	}
	if n == 0 {
		return ""
	}
	text := ui.Plural(n, "listener") + " accepted "
	if atLeast {
		text += "at least "
	}
	text += ui.Plural(accepted, "connection")
	switch {
	case w.sampled():
		text += ", " + ui.SeenWaiting(seen, accepted)
		if longest, known := waits.Max(); known && seen > 0 {
			text += ", up to " + ui.Duration(longest)
		}
	case waits.Count() > 0:
		text += ", 99 % of them within " + ui.Duration(waits.Quantile(0.99))
	}
	return text + "."
}

// lost says what this report is missing; empty: nothing.
func (w words) lost() string {
	var list []string
	for _, l := range w.r.Losses {
		if l.Count > 0 {
			list = append(list, l.String())
		}
	}
	f := &w.r.Flaws
	if f.Damages > 0 {
		list = append(list, "the file is damaged at "+ui.Plural(f.Damages, "place"))
	}
	if f.Torn != nil {
		list = append(list, f.Torn.Error())
	}
	if f.Skipped > 0 {
		list = append(list, quantity.Of(f.Skipped, "[record is|records are]")+" of a later version of the format, and left out")
	}
	if len(list) == 0 {
		return ""
	}
	return "Not everything is known: " + strings.Join(list, "; ") + "."
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
