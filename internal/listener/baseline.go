package listener

import (
	"slices"
	"time"

	"acceptwatch/internal/event"
)

// Baseline are the counts of a moment in the middle, from which on others are
// counted, as if the tracer had been attached then. A nil one is the beginning.
type Baseline struct {
	rows   map[RowName]Row
	errors []AcceptFailures // at listeners that are not known
	losses []Loss
}

// RowName tells rows apart.
type RowName struct {
	Key   Key
	Other bool // the row of all that has none of its own
}

// NameOf is the name of a row.
func NameOf(r *Row) RowName { return RowName{r.Key, r.Other} }

// Baseline are the counts of now.
func (t *Table) Baseline() *Baseline {
	rows := t.Rows()
	b := &Baseline{rows: make(map[RowName]Row, len(rows)), errors: t.AcceptErrors(), losses: t.Losses()}
	for i := range rows {
		b.rows[NameOf(&rows[i])] = rows[i]
	}
	return b
}

// RowsSince changes rows to what they counted since. What is known only as the
// greatest since the beginning, the longest wait and the deepest queue, is told
// if it grew. How the books come out is not known of a queue that was there
// before. Those that were closed before are left out.
func (b *Baseline) RowsSince(rows []Row) []Row {
	if b == nil {
		return rows
	}
	rows = slices.DeleteFunc(rows, func(r Row) bool {
		was, ok := b.rows[NameOf(&r)]
		return ok && was.Open == 0 && r.Open == 0 && was.Closed == r.Closed && was.Enqueued == r.Enqueued &&
			was.Accepted == r.Accepted && was.Dead() == r.Dead()
	})
	for i := range rows {
		if was, ok := b.rows[NameOf(&rows[i])]; ok {
			subtract(&rows[i], &was)
		}
	}
	return rows
}

func subtract(r, was *Row) {
	for _, of := range []struct {
		now *uint64
		was uint64
	}{
		{&r.Closed, was.Closed},
		{&r.Enqueued, was.Enqueued}, {&r.Accepted, was.Accepted}, {&r.AcceptedDead, was.AcceptedDead},
		{&r.CloseWait, was.CloseWait}, {&r.Reset, was.Reset}, {&r.ResetAfterFIN, was.ResetAfterFIN},
		{&r.Purged, was.Purged}, {&r.PurgedDead, was.PurgedDead},
		{&r.MigratedIn, was.MigratedIn}, {&r.MigratedOut, was.MigratedOut},
		{&r.OverflowSYN, was.OverflowSYN}, {&r.OverflowACK, was.OverflowACK},
		{&r.Stalls, was.Stalls},
	} {
		*of.now = Grown(*of.now, of.was)
	}
	if was.StalledSince != 0 { // it goes on, or ended since
		r.Stalls++
	}
	r.Stalled = max(r.Stalled, was.Stalled) - was.Stalled
	r.Full = max(r.Full, was.Full) - was.Full
	r.AcceptErrors = failuresSince(r.AcceptErrors, was.AcceptErrors)
	r.QueuedAtAttach, r.DeadAtAttach = uint64(was.Depth), uint64(was.Unaccepted.Dead())
	r.AttachKnown, r.Lost = false, 0
	r.Seen = Grown(r.Seen, was.Seen)
	if r.MaxDepth == was.MaxDepth {
		r.MaxDepth, r.MaxDepthBacklog, r.MaxDepthUnknown = 0, 0, true
	}
	r.Wait = r.Wait.Since(&was.Wait)
	for i := range r.Members {
		m := &r.Members[i]
		of := was.Members
		if len(of) == 0 && was.ID == m.ID {
			of = []Row{*was}
		}
		if j := slices.IndexFunc(of, func(w Row) bool { return w.ID == m.ID }); j >= 0 {
			subtract(m, &of[j])
		}
	}
}

// Grown is how much a count has grown; 0 if it was read out of order, or began
// again.
func Grown(now, was uint64) uint64 { return max(now, was) - was }

// Since are the waits that w has and was, of the same listener before, has not.
// The longest is that of w if it is a new one, or else the end of its bucket.
func (w *Waits) Since(was *Waits) Waits {
	h := &Histogram{}
	h.AddGrown(w.Histogram, was.Histogram)
	var since Waits
	switch {
	case w.Max > was.Max:
		since.Max = w.Max
	case h.n > 0:
		_, end := BucketBounds(h.first + len(h.counts) - 1)
		since.Max = min(time.Duration(end)*time.Microsecond, w.Max)
	}
	if h.n == 0 {
		return since
	}
	h.NoteMax(since.Max)
	since.Histogram, since.Count = h, h.Count()
	since.P50, since.P90, since.P99 = h.Quantile(0.5), h.Quantile(0.9), h.Quantile(0.99)
	return since
}

// failuresSince are the failed accepts that were not counted before.
func failuresSince(all, was []AcceptFailures) []AcceptFailures {
	type who struct {
		pid   uint32
		errno uint16
		comm  event.Comm
	}
	before := make(map[who]uint64, len(was))
	for _, f := range was {
		before[who{f.PID, f.Errno, f.Comm}] += f.Count
	}
	var since []AcceptFailures
	for _, f := range all {
		if f.Count = Grown(f.Count, before[who{f.PID, f.Errno, f.Comm}]); f.Count > 0 {
			since = append(since, f)
		}
	}
	return since
}

// FailuresSince are the failed accepts at listeners that are not known since.
func (b *Baseline) FailuresSince(all []AcceptFailures) []AcceptFailures {
	if b == nil {
		return all
	}
	return failuresSince(all, b.errors)
}

// LossesSince are the losses since.
func (b *Baseline) LossesSince(all []Loss) []Loss {
	if b == nil {
		return all
	}
	var since []Loss
	for _, l := range all {
		i := slices.IndexFunc(b.losses, func(was Loss) bool { return was.What == l.What })
		if i >= 0 {
			l.Count = Grown(l.Count, b.losses[i].Count)
		}
		if l.Count > 0 {
			since = append(since, l)
		}
	}
	return since
}
