package cli

import (
	"io"
	"time"

	"acceptwatch/internal/export"
	"acceptwatch/internal/ui"
)

// textView is for people.
type textView struct{ printer *ui.Printer }

func newTextView(o ui.Options) *textView { return &textView{ui.NewPrinter(o)} }

func (v *textView) begin(h *ui.Header) {
	v.printer.Header(h)
	v.printer.Titles()
}
func (v *textView) line(l *ui.Line)                { v.printer.Line(l) }
func (v *textView) tick()                          { v.printer.Tick() }
func (v *textView) end(s *ui.Summary, _ time.Time) { v.printer.Summary(s) }
func (v *textView) flush() error                   { return v.printer.Flush() }
func (v *textView) diagnosis(d *ui.Diagnosis)      { v.printer.Diagnosis(d) }

// jsonView is for programs; its format is that of package export.
type jsonView struct {
	out      io.Writer
	clock    *wallClock
	refusals bool // the mode counts what was refused
	buf      []byte
	err      error
}

// flushAt is when the buffer is written before flush is called, in bytes.
const flushAt = 1 << 16

func newJSONView(out io.Writer, clock *wallClock) *jsonView {
	return &jsonView{out: out, clock: clock, buf: make([]byte, 0, flushAt+1<<10)}
}

func (v *jsonView) begin(h *ui.Header) {
	v.refusals = h.Mode != restricted
	v.listeners(h.Listeners)
}

func (v *jsonView) listeners(all []ui.Listener) {
	for i := range all {
		l := &all[i]
		record := export.Listener{Row: &l.Row, Owners: l.Owners, Refusals: v.refusals, Wall: v.clock.at, HeldKnown: l.HeldKnown}
		for _, h := range l.Held {
			record.Held = append(record.Held, export.Held(h))
		}
		v.buf = export.AppendListener(v.buf, &record)
	}
}

func (v *jsonView) line(l *ui.Line) {
	v.buf = export.AppendEvent(v.buf, l.Event, v.clock.at(l.Time), l.Listener)
	if len(v.buf) >= flushAt {
		v.write()
	}
}

func (v *jsonView) tick() {}

func (v *jsonView) diagnosis(d *ui.Diagnosis) {
	v.buf = export.AppendDiagnosis(v.buf, v.clock.at(d.Evidence.Time), d.Evidence, d.Verdicts)
}

func (v *jsonView) end(s *ui.Summary, at time.Time) {
	v.listeners(s.Listeners)
	total := export.Summary{
		Time: at, Mode: s.Mode, Duration: s.Duration, Listeners: len(s.Listeners),
	}
	refusals := &export.Refusals{Elsewhere: s.AcceptErrors}
	if v.refusals {
		total.Refusals = refusals
	}
	for i := range s.AcceptErrors {
		refusals.AcceptErrors += s.AcceptErrors[i].Count
	}
	var accepted uint64
	atLeast := false
	for i := range s.Listeners {
		l := &s.Listeners[i]
		refusals.Overflow += l.Overflow()
		refusals.AcceptErrors += l.Failed()
		accepted += l.Accepted
		atLeast = atLeast || l.AtLeast
		total.CloseWait += l.CloseWait
		total.Reset += l.Reset
		total.Purged += l.Purged
	}
	total.Accepts = export.AcceptsOf(accepted, atLeast)
	for i := range s.Losses {
		total.Losses += s.Losses[i].Count
		v.buf = export.AppendLoss(v.buf, &s.Losses[i])
	}
	v.buf = export.AppendSummary(v.buf, total, v.clock.at)
}

func (v *jsonView) write() {
	if v.err == nil && len(v.buf) > 0 {
		_, v.err = v.out.Write(v.buf)
	}
	v.buf = v.buf[:0]
}

func (v *jsonView) flush() error {
	v.write()
	return v.err
}
