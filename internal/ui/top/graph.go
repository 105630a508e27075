package top

import (
	"time"

	"acceptwatch/internal/ui"
)

// graphs are the depth, the accepted connections and the waits of the last
// minutes.
func (s *section) graphs(height int) []Line {
	h := &s.p.history
	const label = 10
	room := max(s.width-label-22, 10)
	words := "the last " + ui.Duration(s.b.span())
	if s.p.l.Sampled {
		words += "; waits are of those that a look caught waiting"
	}
	lines := title(words)
	if h.points == nil {
		lines = title("the last minutes")
		return append(lines, text(Faint, "  nothing was queued, and nothing accepted"))
	}
	rows := 1
	if height >= 40 {
		rows = 4
	}
	last := h.points[(h.next+len(h.points)-1)%len(h.points)]
	number := func(v uint32) string { return ui.Count(v) }
	perSecond := func(v uint32) string { return rate(float64(v) / 10) }
	wait := func(v uint32) string { return ui.Duration(time.Duration(v) * time.Microsecond) }
	for _, g := range []struct {
		name  string
		value func(*point) uint32
		least uint32 // that a full column stands for
		words func(uint32) string
	}{
		{"depth", depthOf, min(s.p.l.Backlog+1, 8), number},
		{"accepted/s", acceptedOf, 10, perSecond},
		{"p50", p50Of, 1, wait},
		{"p99", p99Of, 1, wait},
		{"max", maxOf, 1, wait},
	} {
		most := h.greatest(g.value)
		if g.name == "p50" && rows == 1 || s.p.l.Sampled && most == 0 && (g.name == "p50" || g.name == "p99") {
			continue
		}
		if rows > 1 && g.name != "depth" {
			lines = append(lines, Line{}) // or one would grow into the other
		}
		tall := rows
		if most == 0 || g.name == "p50" || g.name == "max" {
			tall = 1
		}
		drawn := graph(h.columns(room, historyPoints, g.value), max(most, g.least), room, tall)
		for i, row := range drawn {
			var l Line
			if i == 0 {
				l.add(Plain, left(g.name, label))
			} else {
				l.add(Plain, spaces(label))
			}
			l.add(Bar, row)
			if i == len(drawn)-1 {
				l.add(Faint, "  now ")
				l.add(Plain, g.words(g.value(&last)))
			}
			if i == 0 {
				l.add(Faint, "  most ")
				l.add(Plain, g.words(most))
			}
			lines = append(lines, l)
		}
	}
	return lines
}

// graph is spark in several rows.
func graph(values []uint32, most uint32, width, rows int) []string {
	list := make([]string, rows)
	for row := range rows {
		part := make([]uint32, len(values))
		for i, v := range values {
			if v == 0 {
				continue
			}
			// In eighths of a row, from below.
			all := max((uint64(v)*uint64(rows)*8+uint64(most)-1)/uint64(most), 1)
			below := uint64(rows-1-row) * 8
			part[i] = uint32(min(max(all, below)-below, 8))
		}
		list[row] = spark(part, 8, width)
	}
	return list
}
