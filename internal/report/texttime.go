package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"acceptwatch/internal/ui"
)

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

func (w words) lanes() []lane {
	accepted := "accepted"
	if w.sampled() {
		accepted = "seen, accepted"
	}
	count := func(v float64) string { return ui.Count(uint64(v)) }
	return []lane{
		{name: "deepest queue", value: func(c *Column) float64 { return float64(c.Depth) }, unit: count, zero: true},
		{name: accepted, value: func(c *Column) float64 { return float64(c.Accepted) }, sum: true, unit: count, zero: true},
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
	for _, lane := range t.lanes() {
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
			label += " of " + ui.Count(cmp.Or(l.MaxDepthBacklog, l.Backlog)) + "+1"
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
