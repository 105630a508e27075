package top

import (
	"strconv"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// column is one of the table.
type column struct {
	title string
	least int  // columns that it needs
	most  int  // that it makes use of; 0: not more
	wider bool // it makes use of as many as its cells are wide
	// last says which columns are left out first where there is no room: those
	// with the greatest.
	last  int
	sort  order // that goes by it; byWorst: none does
	right bool
	cell  func(b *board, p *place, width int) (string, Style)
	draw  func(b *board, p *place, width int, to *Line) // instead of cell
}

// columns are those of the table, from left to right.
func columns() []column {
	return []column{
		{title: "LISTENER", least: 15, most: 48, wider: true, sort: byAddress, cell: addressCell},
		{title: "OWNER", least: 8, most: 44, wider: true, last: 4, cell: ownerCell},
		{title: "QUEUE", least: 6, most: 11, wider: true, right: true, sort: byQueue, cell: queueCell},
		{title: "", least: 4, most: 20, last: 3, draw: drawBar},
		{title: "OLDEST", least: 6, right: true, sort: byOldest, cell: oldestCell},
		{title: "ACC/S", least: 5, right: true, sort: byRate, cell: rateCell},
		{title: "P50", least: 6, last: 6, right: true, cell: quantile(func(w *listener.Waits) time.Duration { return w.P50 })},
		{title: "P99", least: 6, right: true, sort: byWait, cell: quantile(func(w *listener.Waits) time.Duration { return w.P99 })},
		{title: "MAX", least: 6, last: 7, right: true, cell: wait(func(w *listener.Waits) time.Duration { return w.Max })},
		{title: "DEAD", least: 4, right: true, sort: byDead, cell: deadCell},
		{title: "OVFL", least: 4, last: 1, right: true, sort: byOverflow, cell: overflowCell},
		{title: "ERR", least: 4, last: 2, right: true, sort: byErrors, cell: errorCell},
		{title: "PAST", least: 4, most: historyPoints, last: 5, draw: drawSpark},
	}
}

// fit chooses the columns for which there is room, and gives each its width:
// least, and a share of what is left over.
func fit(all []column, room int) (shown []column, widths []int) {
	need := func(list []column) int {
		n := len(list) - 1
		for i := range list {
			n += list[i].least
		}
		return n
	}
	for shown = all; len(shown) > 1 && need(shown) > room; {
		worst := 0
		for i := range shown {
			if shown[i].last > shown[worst].last {
				worst = i
			}
		}
		if shown[worst].last == 0 {
			worst = len(shown) - 1
		}
		shown = append(append([]column(nil), shown[:worst]...), shown[worst+1:]...)
	}
	widths = make([]int, len(shown))
	for i := range shown {
		widths[i] = shown[i].least
	}
	for left := room - need(shown); left > 0; {
		grown := false
		for i := range shown {
			if left > 0 && widths[i] < shown[i].most {
				widths[i]++
				left--
				grown = true
			}
		}
		if !grown {
			break
		}
	}
	return shown, widths
}

func addressCell(b *board, p *place, width int) (string, Style) {
	words := p.address()
	if full := b.name(p); len(full) <= width {
		words = full
	}
	switch {
	case p.stalled(), p.l.Failing(), p.l.Refusing():
		return cutMiddle(words, width), Problem
	case p.l.Open == 0:
		return cutMiddle(words, width), Faint
	}
	return cutMiddle(words, width), Plain
}

// ownerCell leaves out the process's number before it cuts the name.
func ownerCell(_ *board, p *place, width int) (string, Style) {
	words := ui.OwnersText(p.l.Owners)
	if len(words) > width && len(p.l.Owners) > 0 {
		words = ui.Clean(p.l.Owners[0].Comm)
		if more := len(p.l.Owners) - 1; more > 0 {
			tail := "+" + strconv.Itoa(more)
			words = cut(words, max(width-len(tail), 1)) + tail
		}
	}
	return words, Plain
}

func queueCell(_ *board, p *place, _ int) (string, Style) {
	words := amount(uint64(p.l.Depth), 5) + "/" + amount(uint64(p.l.Backlog), 5)
	switch {
	case p.l.Open == 0:
		return "closed", Faint
	case p.l.Depth > p.l.Backlog:
		return words, Problem
	case p.l.Depth == 0:
		return words, Faint
	}
	return words, Plain
}

func drawBar(_ *board, p *place, width int, to *Line) {
	if p.l.Open == 0 {
		to.add(Plain, spaces(width))
		return
	}
	filled, empty := bar(p.fill(), width)
	s := Bar
	if p.l.Depth > p.l.Backlog || p.stalled() {
		s = Full
	}
	to.add(s, filled)
	to.add(Gap, empty)
}

func drawSpark(_ *board, p *place, width int, to *Line) {
	if p.history.points == nil {
		to.add(Gap, spaces(width))
		return
	}
	points := min(width, historyPoints)
	var depths []uint32
	p.history.each(func(at *point) { depths = append(depths, at.depth) })
	depths = depths[max(0, len(depths)-points):]
	to.add(Gap, spaces(width-points))
	to.add(Bar, spark(depths, scaleOf(p, depths), points))
}

// scaleOf is what a full column stands for: the deepest that the queue was, but
// not so little that one connection looks like a full queue.
func scaleOf(p *place, depths []uint32) uint32 {
	most := min(p.l.Backlog+1, 8)
	for _, d := range depths {
		most = max(most, d)
	}
	return most
}

func oldestCell(_ *board, p *place, _ int) (string, Style) {
	age, known := p.l.Oldest()
	switch {
	case p.l.Depth == 0:
		return "", Plain
	case !known:
		return "?", Faint
	case age >= ui.SlowWait:
		return brief(age), Slow
	}
	return brief(age), Plain
}

func rateCell(_ *board, p *place, _ int) (string, Style) {
	switch {
	case p.rate < 0, p.rate == 0 && p.l.Open == 0:
		return "", Plain
	case p.rate == 0:
		return "0", Faint
	}
	return rate(p.rate), Plain
}

func wait(of func(*listener.Waits) time.Duration) func(*board, *place, int) (string, Style) {
	return func(_ *board, p *place, _ int) (string, Style) {
		w := of(&p.interval)
		switch {
		case p.interval.Count == 0:
			return "", Plain
		case w >= ui.SlowWait:
			return brief(w), Slow
		}
		return brief(w), Plain
	}
}

// quantile is that of all that were accepted, if all of their waits are known.
func quantile(of func(*listener.Waits) time.Duration) func(*board, *place, int) (string, Style) {
	known := wait(of)
	return func(b *board, p *place, width int) (string, Style) {
		if p.partly {
			return "?", Faint
		}
		return known(b, p, width)
	}
}

func deadCell(_ *board, p *place, width int) (string, Style) {
	if p.l.Open == 0 {
		return "", Plain
	}
	return count(uint64(p.l.Unaccepted.Dead()), width, p.l.Unaccepted.Dead() > 0)
}

func overflowCell(b *board, p *place, width int) (string, Style) {
	if !b.about.Refusals {
		return "-", Faint
	}
	return count(p.l.Overflow(), width, p.l.Refusing())
}

func errorCell(b *board, p *place, width int) (string, Style) {
	if !b.about.Refusals {
		return "-", Faint
	}
	return count(p.l.Failed(), width, p.l.Failing())
}

// count shows a number that is best 0, and marks it.
func count(n uint64, width int, marked bool) (string, Style) {
	switch {
	case n == 0:
		return "0", Faint
	case marked:
		return amount(n, width), Problem
	}
	return amount(n, width), Plain
}
