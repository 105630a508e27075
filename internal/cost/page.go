package cost

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/template"

	"acceptwatch/internal/quantity"
)

//go:embed page.md.tmpl
var pageText string

// WritePage writes the page of these kernels, in Markdown.
func WritePage(w io.Writer, kernels []Kernel) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"count": quantity.Count[int64],
		"tenth": tenth,
		"less":  func(a, b int64) int64 { return a - b },
		"steps": (*Kernel).steps,
		"uses":  (*Kernel).uses,
		"rest":  (*Kernel).rest,
		"names": names,
	}).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, kernels)
}

// tenth writes a number with at most one decimal.
func tenth(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

func round(f float64) int64 { return int64(math.Round(f)) }

func names(hooks []Hook) string {
	var all []string
	for i := range hooks {
		all = append(all, "`"+hooks[i].Symbol+"`")
	}
	return strings.Join(all, ", ")
}

// step is a row on the way from empty hooks to what was measured.
type step struct {
	Name            string
	Counting, Event int64
}

// steps leads from the empty hooks, each alone, to all of them together.
func (k *Kernel) steps() []step {
	parts := k.Parts()
	steps := []step{{"the hooks with empty programs, each alone", parts.Empty, parts.Empty}}
	rest := step{"the rest: moves, branches, the histogram's bucket, what an event is filled with", parts.Counting - parts.Empty, parts.Event - parts.Empty}
	for i := range k.Blocks {
		b := &k.Blocks[i]
		n, m := k.times(b.Name)
		s := step{fmt.Sprintf("%s, %s", b.Name, times(n, m)), round(float64(n) * b.Instructions), round(float64(m) * b.Instructions)}
		steps = append(steps, s)
		rest.Counting -= s.Counting
		rest.Event -= s.Event
	}
	return append(steps, rest,
		step{"**the hooks, each alone**", parts.Counting, parts.Event},
		step{"together they cost more by", k.Whole.Counting - parts.Counting, k.Whole.Event - parts.Event},
		step{"**measured, all together**", k.Whole.Counting, k.Whole.Event})
}

// times is how often a connection takes the block, in all hooks.
func (k *Kernel) times(block string) (counting, event int) {
	for i := range k.Hooks {
		for _, u := range k.Hooks[i].Uses {
			if u.Block == block {
				counting += u.Counting
				event += u.Event
			}
		}
	}
	return counting, event
}

func times(counting, event int) string {
	switch {
	case counting != event:
		return fmt.Sprintf("%d and %d times", counting, event)
	case counting == 1:
		return "once"
	}
	return fmt.Sprintf("%d times", counting)
}

// uses are how often the hook takes each block, in the order of the blocks.
func (k *Kernel) uses(h *Hook) []string {
	cells := make([]string, len(k.Blocks))
	for i := range k.Blocks {
		for _, u := range h.Uses {
			switch {
			case u.Block != k.Blocks[i].Name:
			case u.Counting == u.Event:
				cells[i] = strconv.Itoa(u.Counting)
			default:
				cells[i] = fmt.Sprintf("%d / %d", u.Counting, u.Event)
			}
		}
	}
	return cells
}

// rest is what a hook's program costs, what blocks explain of it, and what they do
// not: for counting and for an event.
func (k *Kernel) rest(h *Hook) []int64 {
	var cells []int64
	for _, c := range []struct {
		times func(*Use) int
		cost  int64
	}{{counting, h.Counting - h.Empty}, {event, h.Event - h.Empty}} {
		explained := k.explained(h, c.times)
		cells = append(cells, c.cost, explained, c.cost-explained)
	}
	return cells
}
