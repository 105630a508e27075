package listener

import (
	"cmp"
	"slices"
)

// Rows are all rows as of the latest event or sample, the worst first: stalled,
// then those where accept() fails or connections are refused lately, then by
// dead in the queue, how full the queue is, failures, refusals, deaths, and p99
// of waits.
func (t *Table) Rows() []Row { return t.AppendRows(make([]Row, 0, len(t.rows)+1)) }

// AppendRows appends what Rows gives to rows, of which there are to be none, to
// make use of their memory.
func (t *Table) AppendRows(rows []Row) []Row {
	for _, r := range t.rows {
		rows = append(rows, t.view(r))
	}
	if c := &t.noEntry; t.other != nil ||
		c.Enqueued+c.Accepted+c.Purged+c.MigratedIn+c.MigratedOut+c.OverflowSYN+c.OverflowACK > 0 {
		rows = append(rows, t.viewOthers())
	}
	worstFirst(rows)
	return rows
}

// worstFirst sorts rows. They are large, so that each is moved once only.
func worstFirst(rows []Row) {
	if len(rows) < 2 {
		return
	}
	order := make([]int32, len(rows))
	for i := range rows {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return worse(&rows[a], &rows[b]) })
	for i := range order {
		// The rows change places in circles.
		first := rows[i]
		at := int32(i)
		for order[at] != int32(i) {
			next := order[at]
			rows[at], order[at] = rows[next], at
			at = next
		}
		rows[at], order[at] = first, at
	}
}

// worse looks at what most often tells rows apart before it looks at the rest: of
// many, most are idle.
func worse(a, b *Row) int {
	if a.quiet() && b.quiet() {
		return cmp.Or(cmp.Compare(b.Accepted, a.Accepted), a.Key.compare(b.Key), cmp.Compare(a.ID, b.ID))
	}
	return cmp.Or(
		compareStalls(a.StalledSince, b.StalledSince),
		first(a.Failing(), b.Failing()),
		first(a.Refusing(), b.Refusing()),
		cmp.Compare(b.Unaccepted.Dead(), a.Unaccepted.Dead()),
		cmp.Compare(b.fill(), a.fill()),
		cmp.Compare(b.Failed(), a.Failed()),
		cmp.Compare(b.Overflow(), a.Overflow()),
		cmp.Compare(b.Dead(), a.Dead()),
		cmp.Compare(b.Wait.P99, a.Wait.P99),
		cmp.Compare(b.Accepted, a.Accepted),
		a.Key.compare(b.Key),
		cmp.Compare(a.ID, b.ID))
}

// quiet says that nothing of what makes a row worse than another is there.
func (r *Row) quiet() bool {
	return r.Depth == 0 && r.Wait.P99 == 0 && r.StalledSince == 0 && len(r.AcceptErrors) == 0 &&
		r.OverflowSYN+r.OverflowACK+r.CloseWait+r.Reset == 0 && r.Unaccepted.Dead() == 0
}

// first puts what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// compareStalls puts the stall that began first before the others.
func compareStalls(a, b int64) int {
	if a == 0 || b == 0 {
		return cmp.Compare(b, a)
	}
	return cmp.Compare(a, b)
}

// fill is how full the queues are: each holds one more than its backlog.
func (r *Row) fill() float64 {
	return float64(r.Depth) / (float64(r.Backlog) + float64(max(r.Open, 1)))
}
