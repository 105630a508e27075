package growth

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// series are points of a cost of so much at any size, and so much for each unit
// to the power.
func series(fixed, each, power float64, linear bool) *Series {
	s := &Series{Cost: "a look", Unit: "ms", By: "sockets", Where: "Here", Linear: linear}
	for size := 1.0; size <= 1e6; size *= 10 {
		s.Points = append(s.Points, Point{size, fixed + each*math.Pow(size, power)})
	}
	return s
}

func TestExponentOfAPowerLaw(t *testing.T) {
	for _, test := range []struct {
		name     string
		s        *Series
		exponent float64
		atEnd    float64
		steep    bool
	}{
		{"the same at any size", series(7, 0, 1, false), 0, 0, false},
		{"linear where it must be", series(0, 3, 1, true), 1, 1, false},
		{"linear where it need not", series(0, 3, 1, false), 1, 1, true},
		{"quadratic", series(0, 1e-3, 2, true), 2, 2, true},
		{"linear, with a cost at any size that hides it at small ones", series(1000, 1, 1, true), 0.50, 0.91, false},
		{"quadratic, hidden among small sizes", series(1000, 1e-3, 2, true), 1.00, 1.91, true},
		{"a logarithm more than linear", func() *Series {
			s := series(0, 1, 1, true)
			for i := range s.Points {
				s.Points[i].Cost *= 1 + math.Log(s.Points[i].Size)
			}
			return s
		}(), 1.18, 1.09, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, atEnd, steep := test.s.Exponent(), test.s.ExponentAtEnd(), test.s.TooSteep()
			if math.Abs(got-test.exponent) > 0.01 || math.Abs(atEnd-test.atEnd) > 0.01 || steep != test.steep {
				t.Errorf("exponent %.3f, at the end %.3f, too steep: %v; want %.2f, %.2f and %v", got, atEnd, steep, test.exponent, test.atEnd, test.steep)
			}
		})
	}
	for _, s := range []*Series{{}, {Points: []Point{{1, 1}}}, {Points: []Point{{1, 0}, {10, 0}}}} {
		if !math.IsNaN(s.Exponent()) || !math.IsNaN(s.ExponentAtEnd()) || s.TooSteep() {
			t.Errorf("%v has an exponent", s.Points)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.01234: "0.0123", 12.345: "12.3", 100: "100", 999.6: "1,000", 65535: "65,535", 1e6: "1,000,000", -1234: "-1,234", -123: "-123"} {
		if got := Number(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
}

// What is printed among other lines comes back, whatever is in front of it.
func TestPageOfWhatWasPrinted(t *testing.T) {
	var out bytes.Buffer
	out.WriteString("=== RUN\n6.12 | ")
	table := Table{Title: "Bursts", Text: "Lost.", Head: []string{"size", "lost"}, Rows: [][]string{{"1", "0"}}}
	if series(0, 3, 1, true).Print(&out) != nil || series(0, 3, 1, false).Print(&out) != nil || table.Print(&out) != nil {
		t.Fatal("cannot print")
	}
	r, err := ReadResults(&out)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := r.WritePage(&page, "# Head\n"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Head\n", "| a look | ms | sockets | 1: 3 | 1,000,000: 3,000,000 | 1.00 | 1.00 | at most linear |", "| 1.00 | 1.00 | too steep |",
		"\nHere:\n", "| 1 | 10 | 100 |", "## Bursts\n\nLost.\n\n| size | lost |\n| ---: | ---: |\n| 1 | 0 |\n",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in\n%s", want, page.String())
		}
	}
}

func TestDamagedResultsAreAnError(t *testing.T) {
	for _, line := range []string{seriesMark + "{", tableMark + "[]"} {
		if _, err := ReadResults(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%q is accepted", line)
		}
	}
}
