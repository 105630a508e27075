package top

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// Style is how text is shown, by meaning.
type Style uint8

// The styles. Without colours, those that mean something are told apart by the
// text too.
const (
	Plain   Style = iota
	Faint         // of less interest
	Strong        // a title
	Problem       // somebody should look at this
	Slow          // took a second or more
	Alarm         // nobody accepts
	Relief        // all is well
	Bar           // a filled part
	Full          // a filled part that somebody should look at
	Gap           // the part that is not filled
)

// Span is text of one style.
type Span struct {
	Text  string
	Style Style
}

// Line is a line of a screen.
type Line struct {
	Spans    []Span
	Selected bool // the one that the cursor is on
	columns  int  // that the spans take
}

// Frame is a whole screen: never more lines, nor columns, than it has.
type Frame []Line

// String is the text of a frame without its styles.
func (f Frame) String() string {
	var b strings.Builder
	for i := range f {
		line := &strings.Builder{}
		for _, s := range f[i].Spans {
			line.WriteString(s.Text)
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// text is a line of one style.
func text(s Style, words string) (l Line) {
	l.add(s, words)
	return l
}

// add appends text.
func (l *Line) add(s Style, words string) {
	if words == "" {
		return
	}
	l.columns += displaywidth.String(words)
	if n := len(l.Spans); n > 0 && l.Spans[n-1].Style == s {
		l.Spans[n-1].Text += words
		return
	}
	l.Spans = append(l.Spans, Span{words, s})
}

// fill appends spaces up to a column.
func (l *Line) fill(to int) {
	if to > l.columns {
		l.add(Plain, strings.Repeat(" ", to-l.columns))
	}
}

// addAtRight appends text that ends at the edge, if there is room.
func (l *Line) addAtRight(s Style, words string, edge int) {
	if start := edge - displaywidth.String(words); start > l.columns {
		l.fill(start)
		l.add(s, words)
	}
}

// clip cuts a line at the edge.
func (l *Line) clip(edge int) {
	if l.columns <= edge {
		return
	}
	room := max(edge, 0)
	for i := range l.Spans {
		width := displaywidth.String(l.Spans[i].Text)
		if width > room || width == room && i < len(l.Spans)-1 {
			l.Spans[i].Text = cut(l.Spans[i].Text+" ", room)
			l.Spans = l.Spans[:i+1]
			break
		}
		room -= width
	}
	l.columns = edge
}

// cut ends text that is longer than width with a mark.
func cut(words string, width int) string {
	switch {
	case width <= 0:
		return ""
	case displaywidth.String(words) <= width:
		return words
	}
	return displaywidth.TruncateString(words, width, "…")
}

// cutMiddle leaves out the middle of what is longer than width: of an address the
// port is of more interest than the rest.
func cutMiddle(words string, width int) string {
	if len(words) <= width {
		return words
	}
	if width < 3 {
		return cut(words, width)
	}
	tail := min(width/2, 8)
	head := width - tail - 1
	return words[:head] + "…" + words[len(words)-tail:]
}

// left and right put text into a cell of a width.
func left(words string, width int) string {
	words = cut(words, width)
	return words + strings.Repeat(" ", max(0, width-displaywidth.String(words)))
}

func right(words string, width int) string {
	words = cut(words, width)
	return strings.Repeat(" ", max(0, width-displaywidth.String(words))) + words
}

// plainly replaces what a terminal without UTF-8 cannot show.
func (f Frame) plainly() {
	ascii := strings.NewReplacer("…", "~", "µ", "u", "·", ".", "█", "#", "▏", "-", "▎", "-", "▍", "-", "▌", "=", "▋", "=", "▊", "=", "▉", "#",
		"▁", "_", "▂", ".", "▃", ":", "▄", "-", "▅", "=", "▆", "+", "▇", "*", "─", "-", "▼", "v", "▲", "^", "▶", ">")
	for i := range f {
		for j := range f[i].Spans {
			f[i].Spans[j].Text = ascii.Replace(f[i].Spans[j].Text)
		}
	}
}
