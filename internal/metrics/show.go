package metrics

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// perSeries is about how many metrics a series has, to make room for them.
const perSeries = 20

// Take takes a look, and returns the metrics as of then, which never change.
func (b *Book) Take(l *Look) []prometheus.Metric {
	b.count(l)
	// Mode restricted samples accept(): it knows neither waits, nor how many were
	// accepted, nor what was refused, nor how deep a queue was between looks.
	s := &show{book: b, exact: l.Mode != listener.Restricted}
	s.values = make([]value, 0, (len(b.series)+1)*perSeries+64)
	s.all = make([]prometheus.Metric, 0, cap(s.values)+len(b.series)+1)
	for _, key := range b.keys() {
		s.series(b.series[key])
	}
	if b.other != nil {
		s.series(b.other)
	}
	s.rest(l)
	for i := range s.values {
		s.all = append(s.all, &s.values[i])
	}
	return s.all
}

// show makes metrics.
type show struct {
	book   *Book
	exact  bool
	values []value
	all    []prometheus.Metric
}

func (s *show) counter(d *prometheus.Desc, labels []*dto.LabelPair, v float64) {
	s.values = append(s.values, value{d, labels, true, v})
}

func (s *show) gauge(d *prometheus.Desc, labels []*dto.LabelPair, v float64) {
	s.values = append(s.values, value{d, labels, false, v})
}

// series shows what there is of each set of labels.
func (s *show) series(r *series) {
	d, c := s.book.descs, &r.counts
	if r.open > 0 { // or there is no queue
		s.gauge(d.depth, r.labels, float64(r.now.depth))
		s.gauge(d.limit, r.labels, float64(r.now.limit))
		s.gauge(d.places, r.labels, float64(r.now.limit+uint64(r.open)))
		s.gauge(d.stalled, r.labels, one(r.now.stalled))
		if r.now.oldest > 0 || !r.now.unknown {
			s.gauge(d.oldest, r.labels, r.now.oldest.Seconds())
		}
	}
	s.counter(d.enqueued, r.labels, float64(c.enqueued))
	s.counter(d.closeWait, r.labels, float64(c.closeWait))
	s.counter(d.reset, r.labels, float64(c.reset))
	s.counter(d.dead, r.labels, float64(c.dead))
	if !s.exact {
		return
	}
	s.gauge(d.maxDepth, r.labels, float64(r.maxDepth))
	s.counter(d.accepted, r.labels, float64(c.accepted))
	s.counter(d.acceptedDead, r.labels, float64(c.acceptedDead))
	s.counter(d.full, r.labels, c.full.Seconds())
	s.counter(d.purged, r.labels, float64(c.purged))
	s.counter(d.overflow, r.labelled("at", "syn"), float64(c.overflowSYN))
	s.counter(d.overflow, r.labelled("at", "ack"), float64(c.overflowACK))
	s.counter(d.migrated, r.labelled("direction", "in"), float64(c.migratedIn))
	s.counter(d.migrated, r.labelled("direction", "out"), float64(c.migratedOut))
	for _, errno := range errnos(c.errors) {
		s.counter(d.errors, r.labelled("errno", event.ErrnoName(errno)), float64(c.errors[errno]))
	}
	if r.histogram == nil {
		r.histogram = s.book.wheres.histogram(&r.waits)
	}
	s.all = append(s.all, &waits{d.wait, r.labels, r.histogram})
}

// errnos are those that a series has, in order: those that were counted, and those
// of want of descriptors, so that the first burst of them is a growth.
func errnos(counted map[uint16]uint64) []uint16 {
	all := []uint16{uint16(unix.ENFILE), uint16(unix.EMFILE)}
	for errno := range counted {
		if !slices.Contains(all, errno) {
			all = append(all, errno)
		}
	}
	slices.Sort(all)
	return all
}

// rest shows what there is once.
func (s *show) rest(l *Look) {
	b, d := s.book, s.book.descs
	open := 0
	for i := range l.Rows {
		open += l.Rows[i].Open
	}
	s.gauge(d.listeners, nil, float64(open))
	s.gauge(d.folded, nil, float64(len(b.folded)))
	s.counter(d.foldedTotal, nil, float64(b.foldings))
	for _, what := range slices.Sorted(maps.Keys(b.lost)) {
		s.counter(d.lost, []*dto.LabelPair{pair("what", what)}, float64(b.lost[what]))
	}
	s.gauge(d.mode, []*dto.LabelPair{pair("mode", l.Mode)}, 1)
	of := b.opt.Build
	s.gauge(d.buildOf, []*dto.LabelPair{pair("goversion", of.Go), pair("revision", of.Revision), pair("version", of.Version)}, 1)
	for _, p := range l.Programs {
		if p.Runs > 0 { // or the kernel does not count
			s.counter(d.programSeconds, []*dto.LabelPair{pair("program", p.Name)}, p.Time.Seconds())
			s.counter(d.programRuns, []*dto.LabelPair{pair("program", p.Name)}, float64(p.Runs))
		}
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
