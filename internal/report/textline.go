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

// table is what has columns, each as wide as what is in it.
type table struct {
	least []int // columns that each takes at least; negative: to the right
	rows  [][]string
}

// widest bounds how far one cell moves what stands in other rows.
const widest = 44

func stallTable() *table { return &table{least: []int{8, 8, -7, 21, -8, -8, -8, 0}} }
func waitTable() *table  { return &table{least: []int{-7, 8, 21, 21, 24, 0}} }

func (a *table) row(cells ...string) { a.rows = append(a.rows, cells) }

func (t *text) table(a *table) {
	widths := make([]int, len(a.least))
	for i, least := range a.least {
		widths[i] = max(least, -least)
		for _, cells := range a.rows {
			widths[i] = max(widths[i], min(utf8.RuneCountInString(cells[i]), widest))
		}
	}
	for _, cells := range a.rows {
		var b strings.Builder
		for i, cell := range cells {
			b.WriteString("  ")
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			if a.least[i] < 0 {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		t.b.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
}
