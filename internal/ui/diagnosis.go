package ui

import (
	"fmt"
	"strings"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/owner"
)

// Diagnosis is why connections are not accepted at a listener.
type Diagnosis struct {
	Evidence *diagnose.Evidence
	Verdicts []diagnose.Verdict // the likeliest first; at least one
	// Full shows everything; otherwise one line tells the first verdict.
	Full bool
}

// mostVerdicts is how many are shown.
const mostVerdicts = 3

// Diagnosis prints a diagnosis.
func (p *Printer) Diagnosis(d *Diagnosis) {
	first := &d.Verdicts[0]
	if !d.Full {
		if first.Cause == diagnose.NothingWrong {
			return // the stall was over before it could be looked at
		}
		p.note(strong, string(p.appendClock(nil, d.Evidence.Time))+" WHY "+d.Evidence.Listener+": "+sure(first))
		return
	}
	p.print(strong, "", diagnosed(d.Evidence))
	for i := range d.Verdicts[:min(len(d.Verdicts), mostVerdicts)] {
		p.verdict(i, &d.Verdicts[i])
	}
	if first.Names() && first.Confidence == diagnose.High {
		return
	}
	for _, blind := range d.Evidence.Blind {
		p.print(faint, "  ", "not seen: "+Clean(blind))
	}
}

// diagnosed says what was looked at.
func diagnosed(e *diagnose.Evidence) string {
	text := e.Listener
	var holders []string
	const most = 4
	for i := range e.Processes {
		if i == most {
			holders = append(holders, fmt.Sprintf("%d more", len(e.Processes)-most))
			break
		}
		p := &e.Processes[i]
		holders = append(holders, fmt.Sprintf("%s[%d]", Clean(p.Comm), p.PID)+
			at(&owner.Place{Container: p.Container, Runtime: p.Runtime, Unit: p.Unit}))
	}
	if len(holders) > 0 {
		text += ", held by " + strings.Join(holders, ", ")
	}
	return text + fmt.Sprintf(", watched for %s in mode %s", Duration(e.Span), e.Mode)
}

func sure(v *diagnose.Verdict) string {
	text := Clean(v.Summary)
	if v.Names() {
		text += " (confidence: " + v.Confidence.String() + ")"
	}
	return text
}

func (p *Printer) verdict(i int, v *diagnose.Verdict) {
	s := problem
	switch {
	case v.Cause == diagnose.NothingWrong:
		s = relief
	case v.Cause == diagnose.CannotTell:
		s = slow
	}
	mark := Mark + " "
	if i > 0 {
		mark = "or: "
	}
	if v.Cause == diagnose.NothingWrong {
		mark = ""
	}
	p.print(s, "", mark+sure(v))
	for _, line := range v.Evidence {
		p.print(plain, "  ", "- "+Clean(line))
	}
	if v.Refute != "" {
		p.print(faint, "  ", "refuted by: "+Clean(v.Refute))
	}
	if v.Do != "" {
		p.print(plain, "  ", "do: "+Clean(v.Do))
	}
}
