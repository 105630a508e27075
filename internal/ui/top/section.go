package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/ui"
)

// why is the diagnosis of the stall that goes on, or of the last one.
func (s *section) why() []Line {
	d := s.p.diagnosis
	if d == nil || len(d.Verdicts) == 0 {
		if !s.p.stalled() {
			return nil
		}
		words := "this is looked at: it takes a few seconds, and one listener at a time is"
		if s.b.about.Origin != "" {
			words = "the recording does not tell, up to here"
		}
		return append(title("why"), s.wrapped(Faint, "  ", words)...)
	}
	lines := title("why, at " + s.b.about.Wall(d.Evidence.Time).Format("15:04:05"))
	full := *d
	full.Full = true
	for i, words := range ui.DiagnosisText(&full, max(s.width-2, 20), s.b.about.Wall) {
		style := Plain
		switch {
		case i == 0:
			style = Faint
		case strings.HasPrefix(words, ui.Mark):
			style = Problem
		}
		lines = append(lines, text(style, "  "+words))
	}
	return lines
}

// queue is what waits now.
func (s *section) queue() []Line {
	entries := s.p.queue()
	if len(entries) == 0 {
		return nil
	}
	lines := title(fmt.Sprintf("in the queue at %s, oldest first", s.b.about.Wall(s.p.walked).Format("15:04:05")))
	lines = append(lines, text(Faint, "  "+left("CLIENT", 28)+right("WAITS", 8)+right("UNREAD", 8)+"  STATE"))
	const most = 16
	for i, e := range entries {
		if i == most {
			break
		}
		peer := "?"
		if e.peer.Port() != 0 {
			peer = e.peer.String()
		}
		age := "?"
		if e.queued != 0 {
			age = brief(time.Duration(max(0, s.p.l.Time-e.queued)))
		}
		style, state := Plain, e.state.String()
		if e.state.Dead() {
			style, state = Problem, state+": the client has gone"
		}
		lines = append(lines, text(style, "  "+left(cutMiddle(peer, 27), 28)+right(age, 8)+right(ui.Count(e.unread), 8)+"  "+state))
	}
	if more := int(s.p.l.Depth) - min(len(entries), most); more > 0 {
		lines = append(lines, text(Faint, "  and "+ui.Count(more)+" more"))
	}
	return lines
}

// acceptors are who accepts, and how often.
func (s *section) acceptors() []Line {
	if len(s.p.acceptors) == 0 {
		return nil
	}
	lines := title("who accepts")
	list := slices.Clone(s.p.acceptors)
	slices.SortFunc(list, func(a, b acceptor) int { return cmp.Compare(b.total, a.total) })
	var all uint64
	for i := range list {
		all += list[i].total
	}
	all += s.p.others.total
	if n := s.p.others.total; n > 0 {
		list = append(list, s.p.others)
	}
	for i := range list {
		a := &list[i]
		name := "other threads"
		if a.pid != 0 {
			name = fmt.Sprintf("%s[%d/%d]", ui.Clean(a.comm.String()), a.pid, a.tid)
		}
		var l Line
		l.add(Plain, fmt.Sprintf("  %s %s/s %s %s", left(name, 30), right(rate(a.rate), 6), right(ui.Count(a.total), 11),
			right(fmt.Sprintf("%d%%", 100*a.total/max(all, 1)), 4)))
		if ago := time.Duration(max(0, s.p.l.Time-a.last)); ago >= ui.SlowWait {
			l.add(Faint, "  "+ui.Duration(ago)+" ago")
		}
		lines = append(lines, l)
	}
	return lines
}

// recent is what happened last, the latest first.
func (s *section) recent() []Line {
	if len(s.p.recent) == 0 {
		return nil
	}
	lines := title("what happened, latest first")
	width := max(s.width-2, 40)
	lines = append(lines, text(Faint, "  "+ui.TitlesText(width)))
	list := slices.Clone(s.p.recent)
	slices.SortStableFunc(list, func(a, b happening) int { return cmp.Compare(b.last, a.last) })
	for _, h := range list {
		style := Plain
		if h.line.Problem() {
			style = Problem
		}
		for _, words := range ui.LineText(&h.line, width, s.b.about.Wall) {
			lines = append(lines, text(style, "  "+words))
		}
		if h.times > 1 {
			lines = append(lines, text(style, fmt.Sprintf("     and %s more like it up to %s", ui.Count(h.times-1), s.b.about.Wall(h.last).Format("15:04:05"))))
		}
	}
	return lines
}
