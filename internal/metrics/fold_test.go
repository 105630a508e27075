package metrics

import (
	"fmt"
	"testing"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// Of more listeners than there is room for, the first to come, and of these the
// worst, have series; the others are summed, and counted. Nothing goes back.
func TestListenersBeyondTheMostAreFolded(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelListener}, Most: 2})
	take := func(at int64, rows ...listener.Row) string {
		l := look(rows...)
		l.Time = at * second
		return text(t, b, b.Take(l))
	}
	names := []string{"accepted_total", "accept_queue_depth", "listeners", "listeners_folded", "series_folded_total"}
	queued := func(r *listener.Row) { r.Depth, r.OldestQueued = 3, 999*second }

	wantLines(t, take(1000, counted(numbered(1), 10, nil), counted(numbered(2), 20, nil), counted(numbered(3), 30, queued), counted(numbered(4), 40, queued)), `
accept_queue_depth{listener="127.0.0.1:10001"} 0
accept_queue_depth{listener="127.0.0.1:10002"} 0
accept_queue_depth{listener="other"} 6
accepted_total{listener="127.0.0.1:10001"} 10
accepted_total{listener="127.0.0.1:10002"} 20
accepted_total{listener="other"} 70
listeners 4
listeners_folded 2
series_folded_total 2
`, names...)

	// One of the first has closed: its place is not given away before its last
	// counts were shown twice.
	rows := []listener.Row{counted(numbered(1), 11, closed), counted(numbered(2), 20, nil), counted(numbered(3), 31, nil), counted(numbered(4), 41, nil)}
	for _, at := range []int64{1010, 1020} {
		wantLines(t, take(at, rows...), `
accepted_total{listener="127.0.0.1:10001"} 11
accepted_total{listener="127.0.0.1:10002"} 20
accepted_total{listener="other"} 72
listeners 3
listeners_folded 2
series_folded_total 2
`, "accepted_total", "listeners", "listeners_folded", "series_folded_total")
	}
	// Who takes it counts from there on.
	rows[2], rows[3] = counted(numbered(3), 35, nil), counted(numbered(4), 42, nil)
	wantLines(t, take(1030, rows...), `
accepted_total{listener="127.0.0.1:10002"} 20
accepted_total{listener="127.0.0.1:10003"} 4
accepted_total{listener="other"} 73
listeners 3
listeners_folded 1
series_folded_total 2
`, "accepted_total", "listeners", "listeners_folded", "series_folded_total")
}

// However many come and go, no more is kept than there may be.
func TestSeriesAreBounded(t *testing.T) {
	b := NewBook(Options{Most: 10})
	for i := range 300 {
		l := look()
		l.Time = int64(1000+i) * second
		for j := range 20 {
			l.Rows = append(l.Rows, counted(numbered(20*i+j), 1, func(r *listener.Row) {
				if i%2 == 0 {
					closed(r)
				}
			}))
		}
		b.Take(l)
		for j := range l.Rows {
			b.Absorbed(listener.NameOf(&l.Rows[j]), listener.RowName{Other: true})
		}
		if len(b.series) > 10 || len(b.rows) > 21 || len(b.folded) > 20 {
			t.Fatalf("at %d: %d series, %d rows, %d folded", i, len(b.series), len(b.rows), len(b.folded))
		}
	}
	if b.foldings == 0 {
		t.Error("nothing was folded")
	}
}

// other is in the first label if it cannot be in that of the listener.
func TestOtherIsInAChosenLabel(t *testing.T) {
	for _, test := range []struct {
		chosen []Label
		want   string
	}{
		{[]Label{LabelPod, LabelListener}, `{listener="other",pod=""}`},
		{[]Label{LabelPod, LabelPort}, `{pod="other",port=""}`},
	} {
		b := NewBook(Options{Labels: test.chosen, Most: 1})
		out := text(t, b, b.Take(look(counted(numbered(1), 1, nil), counted(numbered(2), 2, nil))))
		found := lines(t, out, "accepted_total")
		if want := fmt.Sprintf("accepted_total%s 2\n", test.want); found[len(found)-len(want):] != want {
			t.Errorf("%s; want %s", found, want)
		}
	}
}

// Who is called other is not told apart from what finds no room.
func TestOtherIsNoOtherSeries(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelProcess}, Most: 1})
	l := look(counted(numbered(1), 1, nil), counted(numbered(2), 2, nil), counted(numbered(3), 4, nil))
	l.Owners = func(r *listener.Row) []owner.Process {
		return []owner.Process{process(1, map[uint64]string{1: "web", 2: "other", 4: "mail"}[r.Accepted], owner.Place{})}
	}
	wantLines(t, text(t, b, b.Take(l)), `
accepted_total{process="other"} 6
accepted_total{process="web"} 1
`, "accepted_total")
}
