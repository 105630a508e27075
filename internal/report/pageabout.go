package report

import (
	_ "embed"
	"fmt"
	"time"

	"acceptwatch/internal/quantity"
	"acceptwatch/internal/ui"
)

type fact struct{ Name, Value string }

func (p *page) about(w words) {
	r := w.r
	h := &r.Header
	add := func(name, value string) {
		if value != "" {
			p.About = append(p.About, fact{name, ui.Clean(value)})
		}
	}
	add("Recorded", w.r.At(r.Start).In(w.zone).Format(time.RFC3339)+" to "+w.r.At(r.End).In(w.zone).Format(time.RFC3339))
	add("Host", h.Host)
	add("Kernel", h.Kernel)
	add("Recorded by", h.Tool)
	add("Mode", h.Mode)
	add("Why this mode", h.Why)
	add("Selected", h.Filter)
	for _, limit := range h.Limits {
		add("Limit", limit)
	}
	add("Called a stall", "a queue with entries from which nobody accepted for "+ui.Duration(r.StallAfter))
	sum := r.Sum()
	add("Accepted connections", fmt.Sprintf("%s counted, of which %s recorded one by one", ui.Count(sum.Accepted), ui.Count(sum.Recorded)))
	for _, note := range r.Notes {
		add("Note", note)
	}
	for _, l := range r.Losses {
		p.Losses = append(p.Losses, ui.Clean(l.String()))
	}
	for _, d := range r.Flaws.Damage {
		p.Losses = append(p.Losses, d.Error())
	}
	if more := r.Flaws.Damages - uint64(len(r.Flaws.Damage)); more > 0 {
		p.Losses = append(p.Losses, ui.Plural(more, "more damaged place"))
	}
	if t := r.Flaws.Torn; t != nil {
		p.Losses = append(p.Losses, t.Error())
	}
	if n := r.Flaws.Skipped; n > 0 {
		p.Losses = append(p.Losses, quantity.Of(n, "[record is|records are]")+" of a later version of the format, and left out")
	}
}
