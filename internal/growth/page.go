package growth

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Results are what was measured, in the order in which it was printed.
type Results struct {
	Series []Series
	Tables []Table
}

// ReadResults finds Series and Tables among the lines of a test's output.
func ReadResults(r io.Reader) (*Results, error) {
	var all Results
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if _, text, ok := strings.Cut(lines.Text(), seriesMark); ok {
			var s Series
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				return nil, fmt.Errorf("read a series: %w", err)
			}
			all.Series = append(all.Series, s)
		}
		if _, text, ok := strings.Cut(lines.Text(), tableMark); ok {
			var t Table
			if err := json.Unmarshal([]byte(text), &t); err != nil {
				return nil, fmt.Errorf("read a table: %w", err)
			}
			all.Tables = append(all.Tables, t)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read measurements: %w", err)
	}
	return &all, nil
}

// WritePage writes the results as Markdown. Head comes first.
func (r *Results) WritePage(w io.Writer, head string) error {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("\n## Exponents\n\n| cost | unit | grows with | from | to | exponent | at the end | |\n| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n")
	for i := range r.Series {
		s := &r.Series[i]
		first, last := s.Points[0], s.Points[len(s.Points)-1]
		fmt.Fprintf(&b, "| %s | %s | %s | %s: %s | %s: %s | %s | %s | %s |\n", s.Cost, s.Unit, s.By,
			Number(first.Size), Number(first.Cost), Number(last.Size), Number(last.Cost), exponent(s.Exponent()), exponent(s.ExponentAtEnd()), s.verdict())
	}
	b.WriteString("\n## Points\n")
	where := ""
	for i := range r.Series {
		s := &r.Series[i]
		if s.Where != where {
			where = s.Where
			b.WriteString("\n" + where + ":\n")
		}
		fmt.Fprintf(&b, "\n%s, %s, by %s:\n\n", s.Cost, s.Unit, s.By)
		sizes, costs := "|", "|"
		for _, p := range s.Points {
			sizes += " " + Number(p.Size) + " |"
			costs += " " + Number(p.Cost) + " |"
		}
		b.WriteString(sizes + "\n|" + strings.Repeat(" ---: |", len(s.Points)) + "\n" + costs + "\n")
	}
	for i := range r.Tables {
		t := &r.Tables[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| %s |\n|%s\n", t.Title, t.Text, strings.Join(t.Head, " | "), strings.Repeat(" ---: |", len(t.Head)))
		for _, row := range t.Rows {
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Series) verdict() string {
	switch {
	case s.TooSteep():
		return "too steep"
	case s.Linear:
		return "at most linear"
	}
	return "stays the same"
}

func exponent(e float64) string {
	if math.IsNaN(e) {
		return "-"
	}
	return strconv.FormatFloat(e, 'f', 2, 64)
}

// Number writes three significant digits, and thousands apart.
func Number(n float64) string {
	switch {
	case n == 0:
		return "0"
	case math.Abs(n) < 100:
		return strconv.FormatFloat(n, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(math.Round(n), 'f', 0, 64)
	from := len(digits) % 3
	if from == 0 || from == 1 && digits[0] == '-' {
		from += 3
	}
	text := digits[:from]
	for ; from < len(digits); from += 3 {
		text += "," + digits[from:from+3]
	}
	return text
}
