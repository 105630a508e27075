package report

import (
	"fmt"
	"time"

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
		v.Findings = append(v.Findings, Finding{FoundMore, "", fmt.Sprintf("%s had trouble, too.", ui.Plural(more, "more listener"))})
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
	case r.Empty && r.Flaws.Damages > 0:
		v.Headline = "Nothing of what was recorded can be read."
	case r.Empty:
		v.Headline = "The recording ends before anything was written."
	case v.Headline == "" && fine == "":
		v.Headline = "Nothing happened at " + ui.Plural(len(r.Listeners), "listener") + " in " + ui.Duration(r.Length()) + "."
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
