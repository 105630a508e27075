package peers

import (
	"fmt"
	"html"
	"io"
	"strings"

	"acceptwatch/internal/ui"
)

// Sizes of the plot, in pixels.
const (
	plotMargin = 20
	nameWidth  = 250
	panelWidth = 330
	panelGap   = 70 // of the number behind the longest bar
	barHeight  = 9
	rowGap     = 8
	headHeight = 58
)

// kernelColors are of bars, the oldest kernel first.
var kernelColors = []string{"#9ecae1", "#4292c6", "#08519c", "#08306b"}

// WritePlot draws what each tracer adds to a connection as an SVG: one panel for the
// programs, one for all, a bar a kernel.
func (a *All) WritePlot(w io.Writer) error {
	if len(a.Costs) == 0 {
		return nil
	}
	var b strings.Builder
	rows := a.Costs[0].Rows
	rowHeight := barHeight*len(a.Costs) + rowGap
	width := 2*plotMargin + nameWidth + 2*(panelWidth+panelGap)
	height := 2*plotMargin + headHeight + rowHeight*len(rows) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	panels := []struct {
		title string
		of    func(*Cost) int64
		left  int
	}{
		{"programs in the kernel", func(c *Cost) int64 { return c.Kernel }, plotMargin + nameWidth},
		{"all, with the process that reads them", func(c *Cost) int64 { return c.Whole }, plotMargin + nameWidth + panelWidth + panelGap},
	}
	text(&b, plotMargin, plotMargin+10, "Instructions that a tracer adds to a connection")
	for _, p := range panels {
		text(&b, p.left, plotMargin+headHeight-14, p.title)
	}
	for i := range rows {
		top := plotMargin + headHeight + i*rowHeight
		text(&b, plotMargin, top+rowHeight/2, rows[i].Name)
		for _, p := range panels {
			most := a.most(p.of)
			for k := range a.Costs {
				c := a.Costs[k].row(rows[i].Name)
				if c == nil {
					continue
				}
				y, value := top+k*barHeight, p.of(c)
				if value <= 0 {
					if k == 0 && c.NotMeasured != "" {
						text(&b, p.left, y+barHeight, "not measured")
					}
					continue
				}
				long := int(value * panelWidth / most)
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", p.left, y, max(1, long), barHeight-1, kernelColors[k%len(kernelColors)])
				fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="9">%s</text>`+"\n", p.left+long+4, y+barHeight-1, ui.Count(value))
			}
		}
	}
	x := plotMargin
	for k := range a.Costs {
		y := height - plotMargin
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/>`+"\n", x, y-9, kernelColors[k%len(kernelColors)])
		text(&b, x+14, y, a.Costs[k].Kernel)
		x += 30 + 8*len(a.Costs[k].Kernel)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// most is the largest value of all kernels.
func (a *All) most(of func(*Cost) int64) int64 {
	var most int64 = 1
	for i := range a.Costs {
		for k := range a.Costs[i].Rows {
			most = max(most, of(&a.Costs[i].Rows[k]))
		}
	}
	return most
}

func text(b *strings.Builder, x, y int, words string) {
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", x, y, html.EscapeString(words))
}
