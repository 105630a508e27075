package report

import (
	"fmt"
	"io"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/ui"
)

// TextOptions are the settings of the text of a report.
type TextOptions struct {
	Color bool
	Width int            // of the terminal, in columns; 0: not a terminal
	Zone  *time.Location // of times of day; nil: UTC
	// Most is how many stalls, waits and listeners are listed of each at most.
	// Default: 10.
	Most int
}

// WriteText writes a report for people. The error is that of out.
func WriteText(out io.Writer, r *Report, o TextOptions) error {
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Most <= 0 {
		o.Most = 10
	}
	width := o.Width
	if width <= 0 {
		width = 100
	}
	t := &text{words: words{r, o.Zone}, opt: o, width: max(40, width)}
	t.title()
	t.verdict()
	t.timelines()
	t.stalls()
	t.diagnoses()
	t.patience()
	t.longest()
	if _, err := io.WriteString(out, t.b.String()); err != nil {
		return err
	}
	return t.summary(out)
}

func (t *text) title() {
	r := t.r
	from, to := r.At(r.Start).In(t.zone), r.At(r.End).In(t.zone)
	name := "report"
	if host := ui.Clean(r.Header.Host); host != "" {
		name += " on " + host
	}
	if part := r.Header.Part; part > 1 {
		name += fmt.Sprintf(" from part %d on", part)
	}
	t.wrap("", faint, fmt.Sprintf("%s: %s – %s, %s in mode %s, %s, %s",
		name, from.Format("2006-01-02 15:04:05 MST"), to.Format(time.TimeOnly), ui.Duration(r.Length()), ui.Clean(r.Header.Mode),
		ui.Plural(len(r.Listeners), "listener"), ui.Plural(r.Events, "event")))
	for _, limit := range r.Header.Limits {
		t.wrap("limit: ", "", ui.Clean(limit))
	}
}

func (t *text) verdict() {
	v := t.r.Verdict(t.zone)
	t.b.WriteString("\n")
	if v.Bad {
		t.wrap(ui.Mark+" ", red, v.Headline)
	} else {
		t.wrap("", green, v.Headline)
	}
	if len(v.Findings) > 0 {
		t.head("what happened")
	}
	at := ""
	for _, f := range v.Findings {
		if f.Listener != at && f.Listener != "" {
			t.b.WriteString("  " + t.style(bold, f.Listener) + "\n")
		}
		at = f.Listener
		if at == "" {
			t.wrap("  ", "", f.Text)
		} else {
			t.wrap("    - ", "", f.Text)
		}
	}
}

func (t *text) stalls() {
	if len(t.r.Stalls) == 0 {
		return
	}
	t.head("worst intervals: connections were queued, and nobody accepted")
	list := stallTable()
	list.row("FROM", "TO", "FOR", "LISTENER", "DEEPEST", "GAVE UP", "REFUSED", "WHY, AND WHAT ENDED IT")
	for i := range t.r.Stalls[:min(len(t.r.Stalls), t.opt.Most)] {
		s := &t.r.Stalls[i]
		why := t.notCalled() + "; " + ending(s)
		switch {
		case s.Errno != 0:
			why = event.ErrnoName(s.Errno) + " in " + s.Failing.String() + "; " + ending(s)
		case s.Diagnosis != nil:
			why = ui.Clean(s.Diagnosis.Verdicts[0].Summary) + "; " + ending(s)
		}
		list.row(t.clock(s.From), t.clock(s.To), ui.Duration(s.Length()), t.at(s.Key),
			ui.Count(s.Depth), ui.Count(s.Dead), ui.Count(s.Overflow), why)
	}
	t.table(list)
	t.rest(t.r.StallCount, "stall")
}

// diagnoses tell why nobody accepted.
func (t *text) diagnoses() {
	all := t.r.Diagnoses
	if len(all) == 0 {
		return
	}
	t.head("why nobody accepted")
	for i := range all[:min(len(all), t.opt.Most)] {
		d := &all[i]
		v := &d.Verdicts[0]
		text := ui.Clean(v.Summary)
		if v.Names() {
			text += " (confidence: " + v.Confidence.String() + ")"
		}
		t.wrap("  ", bold, t.clock(d.Evidence.Time)+" "+ui.Clean(d.Evidence.Listener)+": "+text)
		for _, line := range v.Evidence {
			t.wrap("    - ", "", ui.Clean(line))
		}
		if v.Do != "" {
			t.wrap("    do: ", "", ui.Clean(v.Do))
		}
	}
	if more := len(all) - min(len(all), t.opt.Most); more > 0 {
		t.b.WriteString("  and " + quantity.Of(more, "[more diagnosis|more diagnoses]") + "\n")
	}
}

// ending is how a stall ended.
func ending(s *Stall) string {
	switch {
	case s.Ended == event.EndedByAccept && s.By.PID != 0:
		return "then " + s.By.String() + " accepted"
	case s.Ended == event.EndedByAccept:
		return "then somebody accepted"
	case s.Ended == event.EndedByClose:
		return "then the listener was closed"
	case s.Ended == event.EndedByEmpty:
		return "then the queue was empty"
	}
	return "it goes on"
}

// summary is that of the live trace.
func (t *text) summary(out io.Writer) error {
	r := t.r
	p := ui.NewPrinter(ui.Options{
		Out: out, Color: t.opt.Color, Width: func() int { return t.opt.Width },
		Wall: func(ns int64) time.Time { return r.At(ns).In(t.zone) },
		Now:  func() time.Time { return r.At(r.End).In(t.zone) },
	})
	s := &ui.Summary{Mode: r.Header.Mode, Duration: r.Length(), NetNS: r.Header.NetNS, AcceptErrors: r.AcceptErrors, Losses: r.Losses}
	s.Notes = append(s.Notes, r.Notes...)
	for i := range r.Listeners {
		if i == 2*t.opt.Most {
			s.Notes = append(s.Notes, quantity.Of(len(r.Listeners)-i, "[more listener is|more listeners are]")+" in -o json and --html")
			break
		}
		s.Listeners = append(s.Listeners, r.Listeners[i].Listener)
	}
	if r.Flaws.Torn != nil || r.Flaws.Damages > 0 {
		for _, d := range r.Flaws.Damage {
			s.Notes = append(s.Notes, d.Error())
		}
		if t := r.Flaws.Torn; t != nil {
			s.Notes = append(s.Notes, t.Error())
		}
	}
	p.Summary(s)
	return p.Flush()
}
