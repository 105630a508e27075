// Package growth says how a cost grows with what it is measured against: the
// exponent of a power law that is fitted to the points. What measures prints
// Series and Tables as lines of its output, from which a page is made.
package growth

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// Series is one cost, measured at several sizes.
type Series struct {
	Cost   string  `json:"cost"`   // "one sample of the counts"
	Unit   string  `json:"unit"`   // of the cost: "ms of CPU"
	By     string  `json:"by"`     // what grows: "listeners"
	Where  string  `json:"where"`  // it was measured
	Linear bool    `json:"linear"` // it may grow with the size, as it has to look at all of it; else it may not
	Points []Point `json:"points"` // by Size
}

// Point is a measurement.
type Point struct {
	Size float64 `json:"size"`
	Cost float64 `json:"cost"`
}

// slack is by how much the exponent at the end may exceed what it is meant to be.
// What is linear, but leaves the caches on the way, has been seen to have 1.42,
// and what costs the same 0.45; a logarithm more adds 0.1.
const slack = 0.6

// Exponent is that of the power law which is closest to all points, by least
// squares of the logarithms: 0 when the cost stays the same, 1 when it grows as
// the size does. It is NaN of fewer than two points.
func (s *Series) Exponent() float64 { return s.exponentFrom(0) }

// ExponentAtEnd is that of the larger half of the sizes, by their logarithms:
// what costs the same at any size hides the rest among small ones.
func (s *Series) ExponentAtEnd() float64 {
	if len(s.Points) == 0 {
		return math.NaN()
	}
	return s.exponentFrom(math.Sqrt(s.Points[0].Size * s.Points[len(s.Points)-1].Size))
}

func (s *Series) exponentFrom(from float64) float64 {
	var n, x, y, xx, xy float64
	for _, p := range s.Points {
		if p.Size < from || p.Cost <= 0 {
			continue
		}
		lx, ly := math.Log(p.Size), math.Log(p.Cost)
		n, x, y, xx, xy = n+1, x+lx, y+ly, xx+lx*lx, xy+lx*ly
	}
	if n < 2 {
		return math.NaN()
	}
	return (n*xy - x*y) / (n*xx - x*x)
}

// TooSteep says that the cost grows faster, at the end, than it is meant to.
func (s *Series) TooSteep() bool {
	most := slack
	if s.Linear {
		most = 1 + slack
	}
	return s.ExponentAtEnd() > most
}

// Table is anything else that is measured.
type Table struct {
	Title string     `json:"title"`
	Text  string     `json:"text"` // what it says, in sentences
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// The words that begin a line with a Series or a Table.
const (
	seriesMark = "growth-series: "
	tableMark  = "growth-table: "
)

// Print writes s as a line for ReadResults.
func (s *Series) Print(w io.Writer) error { return printLine(w, seriesMark, s) }

// Print writes t as a line for ReadResults.
func (t *Table) Print(w io.Writer) error { return printLine(w, tableMark, t) }

func printLine(w io.Writer, mark string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("print a measurement: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", mark, text)
	return err
}
