package report

import (
	"errors"
	"slices"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// Options are the settings of a report.
type Options struct {
	// StallAfter is after how long a queue is stalled that has entries and that
	// nobody accepts from. Default: what the recording was made with, or 1 s.
	StallAfter time.Duration
	// Span says which part of a recording is reported, in ns of CLOCK_MONOTONIC,
	// to itself not included: beginning is its first time. nil: all. An error ends
	// Each, which returns it.
	Span func(beginning int64, h *recording.Header) (from, to int64, err error)
}

// Each makes a report of each recording that a reader has left: several, if
// traces of different recordings were joined. The parts of one that was rotated
// are one. It stops at an error of give, and returns it, or that of the source,
// or ErrAfterEnd if the span is in none of them; a trace that is damaged or has no
// end gives a report that says so.
func Each(r *recording.Reader, o Options, give func(*Report) error) error {
	defer r.ReadAhead()()
	var c *collector
	given := 0
	for r.Next() {
		rec := r.Record()
		switch {
		case rec.Kind == recording.KindHeader && c != nil && continues(&c.report.Header, rec.Header):
			c.clock(rec.Header.Clock)
			continue
		case rec.Kind == recording.KindHeader:
			if c != nil && !c.before {
				given++
				if err := give(c.finish()); err != nil {
					return err
				}
			}
			c = newCollector(rec.Header, o)
			continue
		case c == nil:
			c = newCollector(nil, o)
		}
		take, err := c.enter(r, rec, &o)
		if err != nil {
			return err
		}
		if take {
			c.take(rec)
		}
	}
	err := r.Err()
	if c == nil {
		return err
	}
	if torn := (*recording.TornError)(nil); errors.As(err, &torn) {
		c.report.Flaws.Torn, err = torn, nil
	}
	if c.before {
		if err == nil && given == 0 {
			err = ErrAfterEnd
		}
		return err
	}
	c.report.Flaws.Skipped = r.Skipped()
	return errors.Join(give(c.finish()), err)
}

// continues says whether a header is of a further part of a rotated recording:
// the clock is the same, and counting began at the same time.
func continues(before, h *recording.Header) bool {
	return before.BootID != "" && before.BootID == h.BootID && before.Start != 0 && before.Start == h.Start &&
		before.Part != 0 && before.Part < h.Part
}

// finish makes the report of what was collected.
func (c *collector) finish() *Report {
	r := &c.report
	r.Empty = !c.begun
	for _, q := range c.queues {
		if q.stall != nil {
			c.endStall(q, r.End, 0, Who{})
		}
	}
	last := c.see(r.End)
	r.Patience = c.patience.result()
	c.total.to(last)
	for _, row := range c.base.RowsSince(c.table.Rows()) {
		r.Listeners = append(r.Listeners, c.listener(row, last))
	}
	for _, p := range c.places {
		for i := range p.series.columns {
			all, own := &c.total.columns[i], &p.series.columns[i]
			all.Fill = max(all.Fill, own.Fill)
			all.add(own)
		}
	}
	for i := range c.nowhere.columns {
		c.total.columns[i].add(&c.nowhere.columns[i])
	}
	r.Total = c.timeline(&c.total)
	r.AcceptErrors = c.base.FailuresSince(c.table.AcceptErrors())
	r.Losses = append(c.base.LossesSince(c.table.Losses()), c.lost...)
	if c.crowded > 0 {
		r.Losses = append(r.Losses, listener.Loss{What: "not_in_timelines", Count: c.crowded,
			Text: "event[|s] of listeners that are not known, or were too many for a timeline of their own; [it is|they are] in that of all"})
	}
	r.sort()
	r.Stalls = r.Stalls[:min(len(r.Stalls), mostStalls)]
	r.Longest = r.Longest[:min(len(r.Longest), mostLongest)]
	return r
}

func (c *collector) timeline(s *series) Timeline {
	return Timeline{From: c.axis.from, Width: c.axis.width, Columns: s.columns}
}

func (c *collector) listener(row listener.Row, last int) Listener {
	l := Listener{Listener: ui.Listener{Row: row, HeldKnown: c.report.HeldKnown}}
	inodes := []uint32{row.Inode}
	for i := range row.Members {
		inodes = append(inodes, row.Members[i].Inode)
	}
	for _, inode := range inodes {
		for _, p := range c.owners[inode] {
			if slices.ContainsFunc(l.Owners, func(o owner.Process) bool { return o.PID == p.PID }) {
				continue
			}
			l.Owners = append(l.Owners, p.Process())
			l.Threads = append(l.Threads, p.Threads...)
		}
	}
	l.Held = ui.HeldBy(c.held[row.Key], nil)
	p := c.places[row.Key]
	if p == nil || row.Other {
		return l
	}
	if len(p.series.columns) > 0 {
		p.series.to(last)
	}
	if l.MaxDepthUnknown {
		l.MaxDepth, l.MaxDepthBacklog, l.MaxDepthUnknown = p.deepest, p.limit, false
	}
	l.Timeline = c.timeline(&p.series)
	l.Patience = p.patience.result()
	l.Recorded = p.recorded
	if w := &l.Wait; w.Count == 0 && p.recorded > 0 {
		l.OwnWaits = true
		h := p.series.waits()
		*w = listener.Waits{Histogram: h, Count: h.Count(), Max: w.Max,
			P50: h.Quantile(0.5), P90: h.Quantile(0.9), P99: h.Quantile(0.99)}
		if most, known := h.Max(); known {
			w.Max = max(w.Max, most)
		}
	}
	return l
}
