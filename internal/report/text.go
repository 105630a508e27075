package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"acceptwatch/internal/event"
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

// text collects the lines.
type text struct {
	words
	opt   TextOptions
	width int // columns
	b     strings.Builder
}

func (t *text) style(sgr, s string) string {
	if !t.opt.Color {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

const (
	bold  = "1"
	faint = "2"
	red   = "1;31"
	green = "1;32"
)

func (t *text) head(s string) { t.b.WriteString("\n" + t.style(bold, s) + "\n") }

// wrap writes a paragraph that begins with a mark, and hangs under it.
func (t *text) wrap(mark, sgr, s string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(mark))
	at, line := mark, ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && utf8.RuneCountInString(at)+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > t.width {
			t.b.WriteString(at + t.style2(sgr, line) + "\n")
			at, line = indent, ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	t.b.WriteString(at + t.style2(sgr, line) + "\n")
}

func (t *text) style2(sgr, s string) string {
	if sgr == "" {
		return s
	}
	return t.style(sgr, s)
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
		counted(len(r.Listeners), "listener", "listeners"), counted(r.Events, "event", "events")))
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

// timelines draws the queues of the worst listeners.
func (t *text) timelines() {
	shown := 0
	for i := range t.r.Listeners {
		l := &t.r.Listeners[i]
		if !l.troubled() || len(l.Timeline.Columns) < 2 {
			continue
		}
		if shown++; shown > 3 {
			return
		}
		t.timeline(l)
	}
}

// rows of a timeline.
type lane struct {
	name  string
	value func(*Column) float64
	sum   bool // of columns that share a place; otherwise the greatest counts
	unit  func(float64) string
	zero  bool // show it if there is nothing
}

func lanes() []lane {
	count := func(v float64) string { return ui.Count(uint64(v)) }
	return []lane{
		{name: "deepest queue", value: func(c *Column) float64 { return float64(c.Depth) }, unit: count, zero: true},
		{name: "accepted", value: func(c *Column) float64 { return float64(c.Accepted) }, sum: true, unit: count, zero: true},
		{name: "longest wait", value: func(c *Column) float64 { return float64(c.Waits.Max) },
			unit: func(v float64) string { return ui.Duration(time.Duration(v)) }},
		{name: "gave up", value: func(c *Column) float64 { return float64(c.Dead) }, sum: true, unit: count},
		{name: "refused", value: func(c *Column) float64 { return float64(c.Overflow) }, sum: true, unit: count},
		{name: "accept() failed", value: func(c *Column) float64 { return float64(c.Failed) }, sum: true, unit: count},
	}
}

func (t *text) timeline(l *Listener) {
	columns := l.Timeline.Columns
	const labels, edge = 18, 22
	per := (len(columns) + max(20, t.width-labels-edge) - 1) / max(20, t.width-labels-edge)
	places := (len(columns) + per - 1) / per
	t.head(fmt.Sprintf("timeline of %s, %s a character", t.name(l), ui.Duration(time.Duration(int64(per)*l.Timeline.Width))))
	for _, lane := range lanes() {
		values := make([]float64, places)
		most := 0.0
		for i := range columns {
			v := lane.value(&columns[i])
			at := &values[i/per]
			if lane.sum {
				*at += v
			} else {
				*at = max(*at, v)
			}
			most = max(most, *at)
		}
		if most == 0 && !lane.zero {
			continue
		}
		label := "most " + lane.unit(most)
		if lane.name == "deepest queue" {
			label += " of " + ui.Count(l.MaxDepthBacklog) + "+1"
		}
		fmt.Fprintf(&t.b, "  %-15s %s %s\n", lane.name, spark(values, most), label)
	}
	if l.Stalls > 0 {
		var b strings.Builder
		for from := 0; from < len(columns); from += per {
			mark := '·'
			for i := from; i < min(from+per, len(columns)); i++ {
				if columns[i].Stalls > 0 {
					mark = '━'
				}
			}
			b.WriteRune(mark)
		}
		fmt.Fprintf(&t.b, "  %-15s %s\n", "stalled", b.String())
	}
	end := t.clock(t.r.End)
	gap := places - utf8.RuneCountInString(t.clock(t.r.Start)) - utf8.RuneCountInString(end)
	if gap < 1 {
		gap = 1
	}
	fmt.Fprintf(&t.b, "  %-15s %s%s%s\n", "", t.clock(t.r.Start), strings.Repeat(" ", gap), end)
}

// spark draws values as a row of bars: nothing is blank, and whatever is more
// than nothing can be seen.
func spark(values []float64, most float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	row := make([]rune, len(values))
	for i, v := range values {
		row[i] = ' '
		if v > 0 {
			row[i] = bars[min(int(v/most*float64(len(bars))), len(bars)-1)]
		}
	}
	return string(row)
}

func (t *text) stalls() {
	if len(t.r.Stalls) == 0 {
		return
	}
	t.head("worst intervals: connections were queued, and nobody accepted")
	t.row(stallColumns(), "FROM", "TO", "FOR", "LISTENER", "DEEPEST", "GAVE UP", "REFUSED", "WHY, AND WHAT ENDED IT")
	for i := range t.r.Stalls[:min(len(t.r.Stalls), t.opt.Most)] {
		s := &t.r.Stalls[i]
		why := t.notCalled() + "; " + ending(s)
		switch {
		case s.Errno != 0:
			why = event.ErrnoName(s.Errno) + " in " + s.Failing.String() + "; " + ending(s)
		case s.Diagnosis != nil:
			why = ui.Clean(s.Diagnosis.Verdicts[0].Summary) + "; " + ending(s)
		}
		t.row(stallColumns(), t.clock(s.From), t.clock(s.To), ui.Duration(s.Length()), t.at(s.Key),
			ui.Count(s.Depth), ui.Count(s.Dead), ui.Count(s.Overflow), why)
	}
	t.rest(t.r.StallCount, "stall", "stalls")
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
		t.b.WriteString("  and " + counted(more, "more diagnosis", "more diagnoses") + "\n")
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

func (t *text) rest(all uint64, one, many string) {
	if more := all - min(all, uint64(t.opt.Most)); more > 0 {
		t.b.WriteString("  and " + counted(more, "shorter "+one, "shorter "+many) + "\n")
	}
}

// widthOf is that of a column of a table; negative: to the right.
func stallColumns() []int { return []int{8, 8, -7, 21, -8, -8, -8, 0} }
func waitColumns() []int  { return []int{-7, 8, 21, 21, 24, 0} }

func (t *text) row(widths []int, cells ...string) {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString("  ")
		pad := strings.Repeat(" ", max(0, max(widths[i], -widths[i])-utf8.RuneCountInString(cell)))
		if widths[i] < 0 {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	t.b.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

func (t *text) patience() {
	p := &t.r.Patience
	if p.Known == 0 {
		return
	}
	t.head("how long clients waited in the queue before they gave up")
	bars := p.bars()
	most := uint64(0)
	for _, b := range bars {
		most = max(most, b.Count)
	}
	for _, b := range bars {
		n := int(float64(b.Count) / float64(most) * 40)
		line := fmt.Sprintf("  %8s – %-8s %9s %s", ui.Duration(b.From), ui.Duration(b.To), ui.Count(b.Count), strings.Repeat("█", n))
		t.b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if text := patienceWords(p); text != "" {
		t.wrap("  ", "", capital(text))
	}
	if p.Late > 0 {
		t.wrap("  ", "", counted(p.Late, "more client was", "more clients were")+" noticed late, so that nobody knows how long they waited.")
	}
}

// bars are wider bins: each is half as long again as the one before it, or
// starts at a round number.
func (p *Patience) bars() []PatienceBin {
	var bars []PatienceBin
	for _, b := range p.Bins {
		from, to := roundBin(b.From)
		if n := len(bars); n > 0 && bars[n-1].From == from {
			bars[n-1].Count += b.Count
			continue
		}
		bars = append(bars, PatienceBin{From: from, To: to, Count: b.Count})
	}
	return bars
}

// roundBin is the span between two of 1, 1.5, 2, 3, 4, 5, 6, 8 (times a power of
// ten) that a wait is in, allowing for the width of a bucket below each.
func roundBin(d time.Duration) (from, to time.Duration) {
	steps := []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10}
	for unit := time.Microsecond; ; unit *= 10 {
		for i := range len(steps) - 1 {
			lo, hi := time.Duration(steps[i]*float64(unit)), time.Duration(steps[i+1]*float64(unit))
			if d < hi-hi/32 {
				if d < lo-lo/32 {
					return 0, lo
				}
				return lo, hi
			}
		}
	}
}

func (t *text) longest() {
	if len(t.r.Longest) == 0 {
		return
	}
	t.head("longest waits of connections that left a queue")
	t.row(waitColumns(), "WAIT", "UNTIL", "LISTENER", "PEER", "HOW IT LEFT", "BY")
	for i := range t.r.Longest[:min(len(t.r.Longest), t.opt.Most)] {
		w := &t.r.Longest[i]
		t.row(waitColumns(), ui.Duration(w.Length), t.clock(w.Time), t.at(w.Listener), w.Peer.String(), w.how(), w.by())
	}
}

// how says how a connection left its queue.
func (w *Wait) how() string {
	switch {
	case w.Kind == event.Purged:
		return "listener was closed"
	case w.State == event.CloseWaited:
		return "accepted, client gone"
	case w.State == event.Close:
		return "accepted, was reset"
	}
	return "accepted"
}

func (w *Wait) by() string {
	if w.Kind == event.Purged {
		return ""
	}
	return Who{w.PID, w.TID, w.Comm}.String()
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
			s.Notes = append(s.Notes, counted(len(r.Listeners)-i, "more listener is", "more listeners are")+" in -o json and --html")
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
