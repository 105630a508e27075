package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Collector gives what a Book made to a registry. It is safe for concurrent use
// if latest is.
type Collector struct {
	descs  []*prometheus.Desc
	latest func() ([]prometheus.Metric, error)
}

// NewCollector is a Collector of the book's metrics. It asks latest for them at
// each scrape; an error makes the scrape fail.
func NewCollector(b *Book, latest func() ([]prometheus.Metric, error)) *Collector {
	return &Collector{b.descs.all, latest}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	all, err := c.latest()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.descs[0], err)
		return
	}
	for _, m := range all {
		ch <- m
	}
}

// NewRegistry is a registry of the collector, and of what the client library knows
// of this process and of Go.
func NewRegistry(c *Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
