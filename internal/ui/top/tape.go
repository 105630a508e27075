package top

import (
	"strconv"
	"strings"
	"time"

	"acceptwatch/internal/ui"
)

// Tape is where a recording is.
type Tape struct {
	From, To int64 // ns, CLOCK_MONOTONIC: where it begins and ends; To 0: not known
	At       int64 // ns: where it is
	Speed    float64
	Paused   bool
	Ended    bool // everything was shown
	CanSeek  bool
}

// line is where the recording is, in words and as a bar.
func (t *Tape) line(about *About, width int) (l Line) {
	mark, style := "playing", Relief
	switch {
	case t.Ended:
		mark, style = "at its end", Slow
	case t.Paused:
		mark, style = "paused", Slow
	}
	l.add(style, mark)
	l.add(Plain, " "+strconv.FormatFloat(t.Speed, 'f', -1, 64)+"x  ")
	at, from := about.Wall(t.At), about.Wall(t.From)
	words := at.Format("15:04:05")
	if t.To > t.From {
		words += " of " + from.Format("15:04:05") + " to " + about.Wall(t.To).Format("15:04:05")
	}
	l.add(Strong, words)
	if room := min(width-l.columns-2, 40); t.To > t.From && room >= 10 {
		filled, empty := bar(float64(t.At-t.From)/float64(t.To-t.From), room)
		l.add(Plain, "  ")
		l.add(Bar, filled)
		l.add(Gap, empty)
	}
	if width-l.columns > 20 {
		l.add(Faint, "  "+about.Origin)
	}
	l.clip(width)
	return l
}

// head is the lines at the top of every page: what is watched, how, what was
// lost, and what cannot be seen.
func (m *Model) head(words string) []Line {
	b := m.shown
	var first Line
	first.add(Strong, "acceptwatch top")
	first.add(Plain, "  mode "+b.about.Mode+"  ")
	first.add(Plain, b.about.Filter)
	if words != "" {
		first.add(Faint, "  "+words)
	}
	clock := ""
	if b.at != 0 {
		clock = b.about.Wall(b.at).Format("15:04:05")
	}
	if b.before != 0 && b.about.Origin == "" {
		clock = "every " + ui.Duration(time.Duration(b.at-b.before).Round(100*time.Millisecond)) + "  " + clock
	}
	first.clip(max(m.width-len(clock)-9, 0))
	if m.paused() {
		first.addAtRight(Slow, "PAUSED "+clock, m.width)
	} else {
		first.addAtRight(Plain, clock, m.width)
	}
	lines := []Line{first, m.lossLine()}
	if len(b.about.Limits) > 0 {
		limits := text(Slow, "limits (?): "+strings.Join(b.about.Limits, "; "))
		limits.clip(m.width)
		lines = append(lines, limits)
	}
	if b.about.Origin != "" {
		lines = append(lines, m.tape.line(&b.about, m.width))
	}
	return lines
}

// lossLine says what was lost.
func (m *Model) lossLine() (l Line) {
	words, any := ui.LossesText(m.shown.losses)
	if any {
		l.add(Slow, words)
	} else {
		l.add(Faint, words)
	}
	if m.note != "" {
		l.add(Slow, "; "+ui.Clean(m.note))
	}
	l.clip(m.width)
	return l
}
