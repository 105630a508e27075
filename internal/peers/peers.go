// Package peers holds what acceptwatch and other tracers were measured to cost,
// and shows it: as a table with bars, a plot, and a page. It is pure; the tests of
// internal/probe measure.
package peers

import (
	"encoding/json"
	"fmt"
	"io"
)

// Costs is what tracers cost one kernel, in a guest of one processor that counts
// instructions. All numbers are instructions per connection.
type Costs struct {
	Kernel      string `json:"kernel"`      // uname -r
	Packages    string `json:"packages"`    // of Debian: whose programs were measured
	Connections int    `json:"connections"` // per figure
	// Nothing is a connection with nothing attached: the lesser median, and the lesser
	// mean, of a measurement before everything else and one after it, and by how much
	// those medians differ.
	Nothing        int64  `json:"nothing"`
	NothingMean    int64  `json:"nothing_mean"`
	NothingDiffers int64  `json:"nothing_differs"`
	Rows           []Cost `json:"rows"`
}

// Cost is what one tracer adds to a connection.
type Cost struct {
	Name    string `json:"name"`
	Command string `json:"command,omitempty"`
	// Against names the set-up of acceptwatch that does the comparable work; empty
	// for those themselves.
	Against string `json:"against,omitempty"`

	NotMeasured string `json:"not_measured,omitempty"` // why; then what follows is 0

	// Kernel is added to the median while the tracer's process is stopped: the
	// programs alone. It is the lesser of two starts, KernelDiffers by how much the
	// other is more; nil: there was one start.
	Kernel        int64  `json:"kernel"`
	KernelDiffers *int64 `json:"kernel_differs,omitempty"`
	// Whole is added to the mean while its process reads and prints on the same
	// processor; Process is that process's share, from the first connection until it
	// has come to rest. Both are 0 where no process takes part (InKernel).
	Whole    int64 `json:"whole"`
	Process  int64 `json:"process"`
	InKernel bool  `json:"in_kernel,omitempty"`

	// Reported is how many connections the tracer told of while its process was
	// stopped in between, ReportedRunning while it ran, out of MadeRunning.
	Reported        int `json:"reported"`
	ReportedRunning int `json:"reported_running"`
	MadeRunning     int `json:"made_running"`
}

// Repeat takes over what is less in a second measurement, or that it failed.
func (c *Cost) Repeat(again Cost) {
	switch {
	case c.NotMeasured != "":
		return
	case again.NotMeasured != "":
		*c = Cost{Name: c.Name, Command: c.Command, Against: c.Against, InKernel: c.InKernel, NotMeasured: again.NotMeasured}
		return
	}
	differs := max(c.Kernel, again.Kernel) - min(c.Kernel, again.Kernel)
	c.KernelDiffers = &differs
	c.Kernel = min(c.Kernel, again.Kernel)
	c.Reported = min(c.Reported, again.Reported)
	if again.Whole < c.Whole {
		c.Whole, c.Process = again.Whole, again.Process
		c.ReportedRunning, c.MadeRunning = again.ReportedRunning, again.MadeRunning
	}
}

// Subtract turns the totals of a connection into what the tracer adds.
func (c *Cost) Subtract(median, mean int64) {
	switch {
	case c.NotMeasured != "":
	case c.InKernel:
		c.Kernel, c.Whole = c.Kernel-median, 0
	default:
		c.Kernel, c.Whole = c.Kernel-median, c.Whole-mean
	}
}

// Rates is what tracers cost in time: connections a second without over with
// them, in pairs of batches that follow each other.
type Rates struct {
	Where      string `json:"where"`  // shown: a guest, or a host
	Kernel     string `json:"kernel"` // uname -r
	Processors int    `json:"processors"`
	Batch      int    `json:"batch"` // connections
	Rate       int64  `json:"rate"`  // the median with nothing attached, connections a second
	Rows       []Rate `json:"rows"`
}

// Rate is what one tracer takes from the rate.
type Rate struct {
	Name        string `json:"name"`
	Command     string `json:"command,omitempty"`
	NotMeasured string `json:"not_measured,omitempty"`

	// How many times as long a connection takes with the tracer: by the means of
	// batches, which is what connections a second are, and by their medians, which a
	// busy machine disturbs less.
	Mean    Ratio `json:"mean"`
	Typical Ratio `json:"typical"`
	Pairs   int   `json:"pairs"`

	Made     int `json:"made"`     // connections
	Reported int `json:"reported"` // of these, by the tracer
}

// Ratio is the median of the ratios of pairs, and the interval that holds the true
// one with a probability of at least 95 %.
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// All is one measurement of everything, the kernels from the oldest to the newest.
type All struct {
	Costs []Costs `json:"costs"`
	Rates []Rates `json:"rates"`
}

// Read decodes an All.
func Read(r io.Reader) (*All, error) {
	var all All
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("read measurements of peers: %w", err)
	}
	return &all, nil
}

// row finds a set-up by its name.
func (c *Costs) row(name string) *Cost {
	for i := range c.Rows {
		if c.Rows[i].Name == name {
			return &c.Rows[i]
		}
	}
	return nil
}

// ratio is how many times as much one costs as the other; false where there is
// nothing to compare.
func ratio(a, b int64) (float64, bool) {
	if a <= 0 || b <= 0 {
		return 0, false
	}
	return float64(a) / float64(b), true
}
