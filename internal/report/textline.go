package report

import (
	"strings"
	"unicode/utf8"

	"acceptwatch/internal/ui"
)

// text collects the lines.
type text struct {
	words
	opt   TextOptions
	width int // columns
	b     strings.Builder
}

func (t *text) style(sgr, s string) string {
	if !t.opt.Color {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

const (
	bold  = "1"
	faint = "2"
	red   = "1;31"
	green = "1;32"
)

func (t *text) head(s string) { t.b.WriteString("\n" + t.style(bold, s) + "\n") }

// wrap writes a paragraph that begins with a mark, and hangs under it.
func (t *text) wrap(mark, sgr, s string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(mark))
	at, line := mark, ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && utf8.RuneCountInString(at)+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > t.width {
			t.b.WriteString(at + t.style2(sgr, line) + "\n")
			at, line = indent, ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	t.b.WriteString(at + t.style2(sgr, line) + "\n")
}

func (t *text) style2(sgr, s string) string {
	if sgr == "" {
		return s
	}
	return t.style(sgr, s)
}

func (t *text) rest(all uint64, noun string) {
	if more := all - min(all, uint64(t.opt.Most)); more > 0 {
		t.b.WriteString("  and " + ui.Plural(more, "shorter "+noun) + "\n")
	}
}

// widthOf is that of a column of a table; negative: to the right.
func stallColumns() []int { return []int{8, 8, -7, 21, -8, -8, -8, 0} }
func waitColumns() []int  { return []int{-7, 8, 21, 21, 24, 0} }

func (t *text) row(widths []int, cells ...string) {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString("  ")
		pad := strings.Repeat(" ", max(0, max(widths[i], -widths[i])-utf8.RuneCountInString(cell)))
		if widths[i] < 0 {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	t.b.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}
