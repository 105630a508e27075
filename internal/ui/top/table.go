package top

import (
	"fmt"
	"strings"

	"github.com/clipperhouse/displaywidth"

	"acceptwatch/internal/ui"
)

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

// Frame is the screen.
func (m *Model) Frame() Frame {
	var f Frame
	switch m.page {
	case listenerPage:
		f = m.pageFrame(m.listenerLines(), "Esc back  space pause  j/k scroll  ? help  q quit")
	case helpPage:
		f = m.pageFrame(m.helpLines(), "Esc back  j/k scroll  q quit")
	default:
		f = m.tableFrame()
	}
	for i := range f {
		f[i].clip(m.width)
	}
	f = f[:min(len(f), m.height)]
	if m.opt.ASCII {
		f.plainly()
	}
	return f
}

// tableHead is the lines above the rows.
func (m *Model) tableHead() []Line {
	return append(m.head(m.sortWords()), m.totals())
}

func (m *Model) sortWords() string {
	words := ""
	if m.sort != byWorst || m.upward {
		words = "by " + m.sort.String()
	}
	if m.upward {
		words += ", reversed"
	}
	return strings.TrimSpace(words)
}

// rows is how many lines the table has for listeners.
func (m *Model) rows() int {
	return max(m.height-len(m.tableHead())-3, 1)
}

// totals is everything in one line.
func (m *Model) totals() (l Line) {
	var stalled, failing, refusing, queued, dead uint64
	perSecond := 0.0
	for _, p := range m.shown.places {
		stalled += one(p.stalled())
		failing += one(p.l.Failing())
		refusing += one(p.l.Refusing())
		queued += uint64(p.l.Depth)
		dead += uint64(p.l.Unaccepted.Dead())
		perSecond += max(p.rate, 0)
	}
	words := ui.Plural(len(m.shown.places), "listener")
	if m.filter != "" || m.typing {
		words = fmt.Sprintf("%s of %s", ui.Count(len(m.list)), words)
	}
	l.add(Plain, words+": ")
	bad := stalled+failing+refusing > 0
	for _, one := range []struct {
		n    uint64
		what string
	}{{stalled, " stalled"}, {refusing, " refusing"}, {failing, " failing to accept"}} {
		if one.n > 0 {
			l.add(Problem, ui.Count(one.n)+one.what)
			l.add(Plain, ", ")
		}
	}
	if !bad {
		l.add(Relief, "none stalled")
		l.add(Plain, ", ")
	}
	l.add(Plain, ui.Count(queued)+" queued")
	if dead > 0 {
		l.add(Plain, ", ")
		l.add(Problem, ui.Count(dead)+" of them dead")
	}
	if m.shown.before != 0 {
		l.add(Plain, ", "+rate(perSecond)+" accepted/s")
	}
	return l
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

func (m *Model) tableFrame() Frame {
	f := Frame(m.tableHead())
	rows := m.rows()
	m.first = min(max(m.first, m.cursor-rows+1), m.cursor)
	m.first = max(min(m.first, len(m.list)-rows), 0)
	visible := m.list[m.first:min(m.first+rows, len(m.list))]
	shown, widths := fit(m.columns(visible), m.width-1)
	f = append(f, m.titles(shown, widths))
	for i, p := range visible {
		f = append(f, m.row(p, m.first+i == m.cursor, shown, widths))
	}
	if len(visible) == 0 {
		f = append(f, text(Faint, m.nothing()))
	}
	for len(f) < m.height-2 {
		f = append(f, Line{})
	}
	return append(f, m.selected(), m.keys())
}

// columns are those of the table, as wide as the rows on the screen make use of.
func (m *Model) columns(visible []*place) []column {
	all := columns()
	for i := range all {
		c := &all[i]
		if !c.wider {
			continue
		}
		need := c.least
		for _, p := range visible {
			words, _ := c.cell(m.shown, p, c.most)
			need = max(need, displaywidth.String(words))
		}
		c.most = min(c.most, need)
	}
	return all
}

// nothing says why there is no row.
func (m *Model) nothing() string {
	switch {
	case m.filter != "":
		return "no listener contains this filter; Esc shows all of them"
	case m.shown.at == 0:
		return "looking..."
	}
	return "nothing listens here, as far as can be seen; what begins to will be shown"
}

func (m *Model) titles(shown []column, widths []int) (l Line) {
	for i := range shown {
		c := &shown[i]
		mark := " "
		if c.sort != byWorst && c.sort == m.sort {
			mark = map[bool]string{false: "▼", true: "▲"}[m.upward]
		}
		l.add(Strong, mark)
		if c.right {
			l.add(Strong, right(c.title, widths[i]))
		} else {
			l.add(Strong, left(c.title, widths[i]))
		}
	}
	return l
}

func (m *Model) row(p *place, selected bool, shown []column, widths []int) (l Line) {
	l.Selected = selected
	switch {
	case p.stalled():
		l.add(Problem, "!")
	case p.l.Failing(), p.l.Refusing():
		l.add(Problem, "*")
	default:
		l.add(Plain, " ")
	}
	for i := range shown {
		c := &shown[i]
		if i > 0 {
			l.add(Plain, " ")
		}
		if c.draw != nil {
			c.draw(m.shown, p, widths[i], &l)
			continue
		}
		words, s := c.cell(m.shown, p, widths[i])
		if c.right {
			l.add(s, right(words, widths[i]))
		} else {
			l.add(s, left(words, widths[i]))
		}
	}
	return l
}

// selected is the listener under the cursor in words.
func (m *Model) selected() (l Line) {
	if len(m.list) == 0 {
		return l
	}
	p := m.list[m.cursor]
	if p.l.Open > 0 {
		l.add(Strong, p.address()+"  ")
		l.add(Plain, p.l.QueueText())
	} else {
		l.add(Strong, m.shown.name(p))
	}
	if w := &p.interval; w.Count > 0 {
		l.add(Plain, fmt.Sprintf("; waited p50 %s, p90 %s, p99 %s, max %s", ui.Duration(w.P50), ui.Duration(w.P90), ui.Duration(w.P99), ui.Duration(w.Max)))
	}
	if len(p.l.Owners) > 0 {
		l.add(Plain, "; held by "+ui.OwnersText(p.l.Owners))
	}
	return l
}

func (m *Model) keys() (l Line) {
	if m.typing {
		l.add(Strong, "/"+m.filter+"_")
		l.add(Faint, "   address or owner; Enter keeps it, Esc does not")
		return l
	}
	if m.filter != "" {
		l.add(Slow, "/"+ui.Clean(m.filter)+"  ")
	}
	l.add(Faint, "Enter open  s sort: "+m.sort.String()+"  / filter  space pause  ? help  q quit")
	if n := len(m.list); n > 0 {
		l.addAtRight(Faint, ui.Count(m.cursor+1)+"/"+ui.Count(n), m.width)
	}
	return l
}

// pageFrame is lines that are scrolled, and the keys.
func (m *Model) pageFrame(lines []Line, keys string) Frame {
	room := max(m.height-1, 1)
	m.scrolls = max(0, len(lines)-room)
	m.scroll = min(m.scroll, m.scrolls)
	f := Frame(lines[m.scroll:min(len(lines), m.scroll+room)])
	for len(f) < room {
		f = append(f, Line{})
	}
	var l Line
	if m.shown.about.Origin != "" {
		keys = "+/- speed  " + keys
		if m.tape.CanSeek {
			keys = "left/right seek  " + keys
		}
	}
	l.add(Faint, keys)
	if m.scrolls > 0 {
		l.addAtRight(Faint, fmt.Sprintf("%d%%", 100*m.scroll/m.scrolls), m.width)
	}
	return append(f, l)
}
