package report

import (
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/ui"
)

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
		t.wrap("  ", "", quantity.Of(p.Late, "[more client was|more clients were]")+" noticed late, so that nobody knows how long they waited.")
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
	list := waitTable()
	list.row("WAIT", "UNTIL", "LISTENER", "PEER", "HOW IT LEFT", "BY")
	for i := range t.r.Longest[:min(len(t.r.Longest), t.opt.Most)] {
		w := &t.r.Longest[i]
		list.row(ui.Duration(w.Length), t.clock(w.Time), t.at(w.Listener), w.Peer.String(), w.how(), w.by())
	}
	t.table(list)
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
