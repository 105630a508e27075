package top

import (
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// twoColumns is the width from which the page of a listener has two.
const twoColumns = 150

// listenerLines is the page of one listener.
func (m *Model) listenerLines() []Line {
	lines := m.head("")
	b := m.shown
	p := b.byName[m.on]
	if p == nil {
		return append(lines, Line{}, text(Slow, "this listener is not there any more, and nothing is known of it"))
	}
	s := section{b: b, p: p, width: m.width}
	lines = append(lines, s.about()...)
	if m.width < twoColumns {
		first, second := s.graphs(m.height), s.why()
		if p.stalled() {
			first, second = second, first
		}
		for _, part := range [][]Line{first, second, s.queue(), s.acceptors(), s.histogram(), s.recent()} {
			lines = append(lines, part...)
		}
		return lines
	}
	half := m.width/2 - 1
	s.width = half
	var ours, theirs []Line
	for _, part := range [][]Line{s.graphs(m.height), s.histogram(), s.acceptors()} {
		ours = append(ours, part...)
	}
	s.width = m.width - half - 2
	for _, part := range [][]Line{s.why(), s.queue(), s.recent()} {
		theirs = append(theirs, part...)
	}
	return append(lines, beside(ours, theirs, half)...)
}

// beside puts lines to the right of others, which take so many columns.
func beside(ours, theirs []Line, width int) []Line {
	for len(ours) < len(theirs) {
		ours = append(ours, Line{})
	}
	for i := range theirs {
		l := &ours[i]
		l.clip(width)
		l.fill(width + 2)
		for _, s := range theirs[i].Spans {
			l.add(s.Style, s.Text)
		}
	}
	return ours
}

// section writes the parts of the page of a listener, each after an empty line.
type section struct {
	b     *board
	p     *place
	width int
}

func title(words string) []Line { return []Line{{}, text(Strong, words)} }

// wrapped is text of one style over several lines.
func (s *section) wrapped(style Style, indent, words string) (lines []Line) {
	for _, l := range ui.Wrapped(words, "", max(s.width-len(indent), 20)) {
		lines = append(lines, text(style, indent+l))
	}
	return lines
}

// about says whose it is, how it is, and what was counted.
func (s *section) about() []Line {
	l := &s.p.l
	var first Line
	first.add(Strong, s.b.name(s.p))
	if len(l.Owners) > 0 {
		first.add(Plain, "  held by "+ui.OwnersText(l.Owners))
	}
	first.clip(s.width)
	lines := append([]Line{{}, first}, s.state()...)
	if l.Open > 0 {
		lines = append(lines, s.wrapped(Plain, "", l.QueueText())...)
		var gauge Line
		filled, empty := bar(s.p.fill(), min(s.width, 60))
		style := Bar
		if s.p.stalled() || l.Depth > l.Backlog {
			style = Full
		}
		gauge.add(style, filled)
		gauge.add(Gap, empty)
		lines = append(lines, gauge)
	}
	return append(lines, s.wrapped(Plain, "", s.counts())...)
}

// state says what is wrong, if anything is.
func (s *section) state() (lines []Line) {
	l := &s.p.l
	for i := range l.AcceptErrors {
		f := &l.AcceptErrors[i]
		style := Plain
		if l.Time-f.Last < listener.Recently {
			style = Problem
		}
		if i < 3 {
			lines = append(lines, s.wrapped(style, "", fmt.Sprintf("accept() failed %s with %s; the last time at %s",
				ui.Plural(f.Count, "time"), ui.FailureText(f), s.b.about.Wall(f.Last).Format("15:04:05")))...)
		}
	}
	if l.Refusing() {
		lines = append(lines, s.wrapped(Problem, "", "OVERFLOW: the queue is full, and clients are refused; the last one at "+
			s.b.about.Wall(l.LastOverflow).Format("15:04:05"))...)
	}
	switch {
	case s.p.stalled():
		stall := fmt.Sprintf("STALL: nobody accepts, for %s (%s)", ui.Duration(time.Duration(max(0, l.Time-l.StalledSince))),
			ui.LastAcceptText(&s.p.lastAccept, s.b.about.Wall))
		lines = append(s.wrapped(Alarm, "", stall), lines...)
	case l.Open == 0:
		lines = append(lines, text(Slow, "the listener was closed"))
	case len(lines) == 0 && s.p.rate > 0:
		lines = append(lines, text(Relief, "accepts"))
	case len(lines) == 0 && l.Depth == 0:
		lines = append(lines, text(Relief, "nothing waits"))
	}
	return lines
}

// counts is what was counted; what is 0 is left out.
func (s *section) counts() string {
	l := &s.p.l
	var list []string
	accepted := "accepted"
	if l.Sampled {
		accepted += " (" + ui.SeenWaiting(l.Seen, l.Accepted) + ")"
	}
	if l.AtLeast {
		accepted += " at least"
	}
	for _, of := range []struct {
		n    uint64
		what string
	}{
		{l.Accepted, accepted}, {l.AcceptedDead, "dead on accept"}, {l.CloseWait, "close_wait"}, {l.Reset, "reset"},
		{l.OverflowSYN, "refused at the SYN"}, {l.OverflowACK, "refused at the last ACK"}, {l.Purged, "purged"},
		{l.MigratedIn, "migrated in"}, {l.MigratedOut, "migrated out"}, {l.Lost, "unexplained"},
	} {
		if of.n > 0 {
			list = append(list, ui.Count(of.n)+" "+of.what)
		}
	}
	if l.Stalls > 0 {
		list = append(list, ui.Plural(l.Stalls, "stall")+" of "+ui.Duration(l.Stalled)+" in all")
	}
	if len(list) == 0 {
		return "since the start: nothing accepted"
	}
	return "since the start: " + strings.Join(list, ", ")
}

// histogram is how long those waited that were accepted since the start.
func (s *section) histogram() []Line {
	w := &s.p.l.Wait
	if w.Count == 0 {
		return nil
	}
	of := "all"
	if s.p.l.Sampled && s.p.l.Seen != s.p.l.Accepted {
		of = "the " + ui.Count(s.p.l.Seen) + " that a look caught waiting"
	}
	lines := title(fmt.Sprintf("waits of %s: p50 %s, p90 %s, p99 %s, max %s", of, ui.Duration(w.P50), ui.Duration(w.P90), ui.Duration(w.P99), ui.Duration(w.Max)))
	if s.p.l.Folded {
		lines = append(lines, s.wrapped(Slow, "  ", "with waits of other listeners: there was no histogram left for this one")...)
	}
	counts, bounds := decades(w.Histogram)
	most, firstBar, lastBar := uint64(0), len(counts), 0
	for i, n := range counts {
		if n > 0 {
			most, firstBar, lastBar = max(most, n), min(firstBar, i), i
		}
	}
	for i := firstBar; i <= lastBar; i++ {
		var l Line
		name := "longer"
		if i < len(bounds) {
			name = "< " + ui.Duration(bounds[i])
		}
		l.add(Plain, "  "+right(name, 9)+" "+right(ui.Count(counts[i]), 11)+" ")
		filled, _ := bar(float64(counts[i])/float64(most), max(s.width-l.columns-2, 10))
		style := Bar
		if i > 0 && bounds[i-1] >= ui.SlowWait {
			style = Slow
		}
		l.add(style, filled)
		lines = append(lines, l)
	}
	return lines
}

// decades counts the waits below each bound, and above the one before; the last
// are those above all. A bucket belongs where most of it is.
func decades(h *listener.Histogram) (counts []uint64, bounds []time.Duration) {
	for d := 10 * time.Microsecond; d <= 100*time.Second; d *= 10 {
		bounds = append(bounds, d)
	}
	counts = make([]uint64, len(bounds)+1)
	for i, n := range h.All() {
		lo, hi := listener.BucketBounds(i)
		middle := time.Duration(lo+hi) * time.Microsecond / 2
		at := 0
		for at < len(bounds) && middle >= bounds[at] {
			at++
		}
		counts[at] += n
	}
	return counts, bounds
}
