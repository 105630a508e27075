package peers

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"acceptwatch/internal/ui"
)

// barWidth is that of the longest bar of a table, in characters.
const barWidth = 40

// WriteText writes everything as tables with bars.
func (a *All) WriteText(w io.Writer) error {
	for i := range a.Costs {
		if err := a.Costs[i].writeText(w); err != nil {
			return err
		}
	}
	for i := range a.Rates {
		if err := a.Rates[i].writeText(w); err != nil {
			return err
		}
	}
	return nil
}

func (c *Costs) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s: instructions per connection, over the %s that it takes with nothing attached\n(%s connections a figure; %s)\n\n",
		c.Kernel, ui.Count(c.Nothing), ui.Count(int64(c.Connections)), c.Packages)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tPROGRAMS\tDIFFER BY\tRATIO\tALL\tRATIO\tREPORTED")
	for _, line := range c.cells() {
		fmt.Fprintln(table, strings.Join(line, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	most := c.most()
	for i := range c.Rows {
		r := &c.Rows[i]
		if r.NotMeasured != "" {
			continue
		}
		programs := bar(r.Kernel, most)
		rest := max(0, bar(r.Whole, most)-programs)
		fmt.Fprintf(w, "%-38s %s%s\n", r.Name, strings.Repeat("#", programs), strings.Repeat("-", rest))
	}
	_, err := fmt.Fprintf(w, "%-38s # programs in the kernel, - all with the process that reads them\n\n", "")
	return err
}

// cells are the rows of the table, which the text and the page share.
func (c *Costs) cells() [][]string {
	var rows [][]string
	for i := range c.Rows {
		r := &c.Rows[i]
		if r.NotMeasured != "" {
			rows = append(rows, []string{r.Name, "not measured: " + r.NotMeasured})
			continue
		}
		cells := []string{r.Name, ui.Count(r.Kernel), "", "", "", "", r.reported(c.Connections)}
		if r.KernelDiffers != nil {
			cells[2] = ui.Count(*r.KernelDiffers)
		}
		if !r.InKernel {
			cells[4] = ui.Count(r.Whole)
		}
		if ours := c.row(r.Against); ours != nil {
			if ratio, ok := ratio(r.Kernel, ours.Kernel); ok {
				cells[3] = times(ratio)
			}
			if ratio, ok := ratio(r.Whole, ours.Whole); ok {
				cells[5] = times(ratio)
			}
		}
		rows = append(rows, cells)
	}
	return rows
}

// reported says how many connections the tracer told of, if not of all, and of
// none on purpose.
func (r *Cost) reported(made int) string {
	switch {
	case r.Reported == 0 && r.ReportedRunning == 0:
		return "none, as asked"
	case r.Reported == made && (r.InKernel || r.ReportedRunning == r.MadeRunning):
		return "all"
	default:
		return fmt.Sprintf("%s of %s", ui.Count(int64(r.Reported+r.ReportedRunning)), ui.Count(int64(made+r.MadeRunning)))
	}
}

// most is the longest bar.
func (c *Costs) most() int64 {
	var most int64 = 1
	for i := range c.Rows {
		most = max(most, c.Rows[i].Kernel, c.Rows[i].Whole)
	}
	return most
}

func bar(value, most int64) int {
	return int((max(0, value)*barWidth + most/2) / most)
}

func (r *Rates) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %d processors: how much longer a connection takes\n(%s connections a second with nothing attached; pairs of batches of %s)\n\n",
		r.Where, r.Kernel, r.Processors, ui.Count(r.Rate), ui.Count(int64(r.Batch)))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tMEAN\tTYPICAL\tPAIRS\tREPORTED")
	for _, line := range r.cells() {
		fmt.Fprintln(table, strings.Join(line, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (r *Rates) cells() [][]string {
	var rows [][]string
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.NotMeasured != "" {
			rows = append(rows, []string{row.Name, "not measured: " + row.NotMeasured})
			continue
		}
		reported := "none, as asked"
		if row.Made > 0 {
			reported = fmt.Sprintf("%s of %s", ui.Count(int64(row.Reported)), ui.Count(int64(row.Made)))
		}
		rows = append(rows, []string{row.Name, row.Mean.String(), row.Typical.String(), fmt.Sprint(row.Pairs), reported})
	}
	return rows
}

// String shows the median, and the interval.
func (r Ratio) String() string { return fmt.Sprintf("%.2fx (%.2f-%.2f)", r.Median, r.Low, r.High) }

func times(ratio float64) string { return fmt.Sprintf("%.2fx", ratio) }
