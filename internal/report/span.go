package report

import (
	"errors"
	"fmt"
	"math"

	"acceptwatch/internal/recording"
)

// ErrAfterEnd says that a span begins after everything that was recorded.
var ErrAfterEnd = errors.New("the span begins after the end of the recording")

// span is the part of a recording that is reported, in ns of CLOCK_MONOTONIC.
type span struct {
	from, to int64 // to itself is not in it
	placed   bool  // from and to are known
	before   bool  // it is still to come
	over     bool
}

// enter says whether a record is to be taken: not if it is after the span, or the
// reader left it for a place nearer to its beginning.
func (c *collector) enter(r *recording.Reader, rec *recording.Record, o *Options) (take bool, err error) {
	at, told := rec.Time()
	s := &c.span
	if o.Span == nil || !told {
		return !s.over, nil
	}
	if !s.placed {
		h := &c.report.Header
		beginning := h.Start
		if beginning == 0 || h.Partial() {
			beginning = at
		}
		if s.from, s.to, err = o.Span(beginning, h); err != nil {
			return false, err
		}
		s.placed, s.before = true, s.from > beginning
		if start := s.from - recording.Lead; s.before && start > at {
			if leapt, err := leap(r, start); err != nil || leapt {
				return false, err
			}
		}
	}
	switch {
	case s.over:
		return false, nil
	case at >= s.to:
		s.over = true
		if !s.before {
			c.see(s.to - 1)
			c.report.End, c.report.Cut = s.to, true
		}
		_, err := leap(r, math.MaxInt64) // only another recording is of interest
		return false, err
	case s.before && at >= s.from:
		s.before = false
		c.restart(s.from)
	}
	return true, nil
}

// leap goes on at a later time. What cannot seek is read instead.
func leap(r *recording.Reader, to int64) (leapt bool, err error) {
	if err := r.SeekTime(to); errors.Is(err, recording.ErrNoSeek) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("report a part of a trace: %w", err)
	}
	return true, nil
}

// restart forgets what happened, and keeps how everything is now: what is
// reported begins here.
func (c *collector) restart(at int64) {
	c.base = c.table.Baseline()
	r := &c.report
	r.Events, r.Stalls, r.StallCount, r.Longest = 0, nil, 0, nil
	c.begun, c.crowded = false, 0
	c.patience, c.nowhere, c.total = patience{}, series{}, series{}
	column := c.see(at)
	for _, p := range c.places {
		p.patience, p.recorded, p.series, p.deepest, p.limit = patience{}, 0, series{}, 0, 0
		if p.depth > 0 {
			p.series.set(column, p.depth, p.backlog)
		}
	}
	for _, q := range c.queues {
		if p := q.place; p != nil && q.depth > 0 {
			p.note(q, column)
		}
	}
	c.total.set(column, c.depth, c.backlog)
}
