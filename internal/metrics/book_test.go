package metrics

import (
	"testing"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// counted is a listener that has accepted n, each after 1 ms.
func counted(addr string, n uint64, change func(*listener.Row)) listener.Row {
	return row(addr, func(r *listener.Row) {
		r.Accepted = n
		r.Wait.Histogram = &listener.Histogram{}
		r.Wait.Histogram.AddBucket(listener.BucketOf(1000), n)
		if change != nil {
			change(r)
		}
	})
}

func closed(r *listener.Row) { r.Open, r.Closed = 0, 1 }

// Fewer labels sum: counts, waits and depths; the greatest of ages and depths.
func TestRowsOfEqualLabelsAreSummed(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelPort}})
	out := text(t, b, b.Take(look(
		counted("10.0.0.1:80", 10, func(r *listener.Row) {
			r.Depth, r.OldestQueued, r.MaxDepth, r.StalledSince = 2, 997*second, 9, 997*second
		}),
		counted("10.0.0.2:80", 5, func(r *listener.Row) {
			r.Depth, r.OldestQueued, r.MaxDepth, r.Backlog, r.Open = 3, 999*second, 7, 5, 9
		}),
		counted("10.0.0.2:81", 1, func(r *listener.Row) { r.Depth = 4 }),
	)))
	wantLines(t, out, `
accept_queue_depth{port="80"} 5
accept_queue_depth{port="81"} 4
accept_queue_limit{port="80"} 133
accept_queue_limit{port="81"} 128
accept_queue_max_depth{port="80"} 9
accept_queue_max_depth{port="81"} 0
accept_queue_oldest_seconds{port="80"} 3
accept_queue_places{port="80"} 143
accept_queue_places{port="81"} 129
accept_wait_seconds_count{port="80"} 15
accept_wait_seconds_count{port="81"} 1
accepted_total{port="80"} 15
accepted_total{port="81"} 1
listeners 11
stalled{port="80"} 1
stalled{port="81"} 0
`, "accepted_total", "accept_wait_seconds_count", "accept_queue_depth", "accept_queue_limit", "accept_queue_places",
		"accept_queue_oldest_seconds", "accept_queue_max_depth", "stalled", "listeners")
}

func TestLabels(t *testing.T) {
	web := []owner.Process{
		process(1, "systemd", owner.Place{Unit: "init.scope"}), process(2, "web", owner.Place{Unit: "web.service"}),
		process(3, "web", owner.Place{Unit: "web.service"}),
	}
	pod := []owner.Process{process(4, "app\xff", owner.Place{Container: "c0ffee", Pod: "1234"})}
	for _, test := range []struct {
		chosen []string
		owners []owner.Process
		want   string
	}{
		{nil, web, `accepted_total{listener="127.0.0.1:80",netns="4026531840",port="80"} 1`},
		{[]string{"listener"}, web, `accepted_total{listener="127.0.0.1:80"} 1`},
		{[]string{"unit", "process"}, web, `accepted_total{process="systemd,web",unit="init.scope,web.service"} 1`},
		{[]string{"port", "pod", " container", "port"}, pod, `accepted_total{container="c0ffee",pod="1234",port="80"} 1`},
		{[]string{"process"}, pod, "accepted_total{process=\"app\uFFFD\"} 1"},
		{[]string{"pod"}, nil, `accepted_total{pod=""} 1`},
	} {
		var o Options
		if test.chosen != nil {
			chosen, err := ParseLabels(test.chosen)
			if err != nil {
				t.Fatal(err)
			}
			o.Labels = chosen
		}
		b := NewBook(o)
		l := look(counted("127.0.0.1:80", 1, nil))
		l.Owners = func(*listener.Row) []owner.Process { return test.owners }
		wantLines(t, text(t, b, b.Take(l)), test.want, "accepted_total")
	}
	for _, names := range [][]string{nil, {""}, {"peer"}, {"port", "Listener"}} {
		if chosen, err := ParseLabels(names); err == nil {
			t.Errorf("%q are labels: %v", names, chosen)
		}
	}
}

// A counter counts what happened while its labels were so.
func TestCountersFollowTheContainer(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelContainer}})
	take := func(at int64, container string, r listener.Row) string {
		l := look(r)
		l.Time = at * second
		l.Owners = func(*listener.Row) []owner.Process {
			if container == "" {
				return nil
			}
			return []owner.Process{process(1, "app", owner.Place{Container: container})}
		}
		return text(t, b, b.Take(l))
	}
	take(1000, "a", counted("127.0.0.1:80", 10, nil))
	// Nobody holds it any more, but the last of its counts is known only now.
	out := take(1010, "", counted("127.0.0.1:80", 12, closed))
	wantLines(t, out, `accepted_total{container="a"} 12`, "accepted_total")
	out = take(1020, "b", counted("127.0.0.1:80", 15, func(r *listener.Row) { r.Closed = 1 }))
	wantLines(t, out, `
accept_wait_seconds_count{container="a"} 12
accept_wait_seconds_count{container="b"} 3
accepted_total{container="a"} 12
accepted_total{container="b"} 3
`, "accepted_total", "accept_wait_seconds_count")
}

// A closed listener's series stays for ten minutes, and begins again at 0.
func TestSeriesOfClosedListenersStayForAWhile(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelPort}})
	for _, step := range []struct {
		at   int64 // s
		row  listener.Row
		want string
	}{
		{1000, counted("127.0.0.1:80", 10, nil), `accepted_total{port="80"} 10`},
		{1010, counted("127.0.0.1:80", 11, closed), `accepted_total{port="80"} 11`},
		{1609, counted("127.0.0.1:80", 11, closed), `accepted_total{port="80"} 11`},
		{1610, counted("127.0.0.1:80", 11, closed), ""},
		{1620, counted("127.0.0.1:80", 11, closed), ""},
		{1630, counted("127.0.0.1:80", 12, func(r *listener.Row) { r.Closed = 1 }), `accepted_total{port="80"} 1`},
		{1640, counted("127.0.0.1:80", 14, closed), `accepted_total{port="80"} 3`},
		{9000, counted("127.0.0.1:80", 14, closed), ""},
		{9010, counted("127.0.0.1:80", 20, func(r *listener.Row) { closed(r); r.Closed = 2 }), `accepted_total{port="80"} 6`},
	} {
		l := look(step.row)
		l.Time = step.at * second
		wantLines(t, text(t, b, b.Take(l)), step.want, "accepted_total")
	}
}

// What the table sums up when it has too many rows is counted once.
func TestRowsThatAreTakenOverAreCountedOnce(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelPort}})
	b.Take(look(counted("127.0.0.1:80", 10, nil), counted("127.0.0.1:81", 20, nil)))
	rest := counted("127.0.0.1:1", 12, nil)
	rest.Key, rest.Other, rest.Open = listener.Key{}, true, 0
	gone := row("127.0.0.1:80", nil)
	b.Absorbed(listener.NameOf(&gone), listener.NameOf(&rest))
	out := text(t, b, b.Take(look(counted("127.0.0.1:81", 20, nil), rest)))
	wantLines(t, out, `
accept_wait_seconds_count{port="80"} 10
accept_wait_seconds_count{port="81"} 20
accept_wait_seconds_count{port="other"} 2
accepted_total{port="80"} 10
accepted_total{port="81"} 20
accepted_total{port="other"} 2
`, "accepted_total", "accept_wait_seconds_count")
	rest.Accepted = 15
	out = text(t, b, b.Take(look(counted("127.0.0.1:81", 20, nil), rest)))
	wantLines(t, out, `
accepted_total{port="80"} 10
accepted_total{port="81"} 20
accepted_total{port="other"} 5
`, "accepted_total")
}

// Waits of listeners that share a histogram cannot be told apart, and are
// counted once.
func TestSharedWaitsAreCountedOnce(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelPort}})
	take := func(waits *listener.Histogram) string {
		folded := func(r *listener.Row) { r.Wait = listener.Waits{Histogram: waits, Shared: true}; r.Folded = true }
		return text(t, b, b.Take(look(counted("127.0.0.1:80", 2, folded), counted("127.0.0.1:81", 1, folded), counted("127.0.0.1:82", 1, nil))))
	}
	take(histogram(time.Second, time.Second, time.Second))
	out := take(histogram(time.Second, time.Second, time.Second, time.Minute))
	wantLines(t, out, `
accept_wait_seconds_count{port="80"} 0
accept_wait_seconds_count{port="81"} 0
accept_wait_seconds_count{port="82"} 1
accept_wait_seconds_count{port="other"} 4
`, "accept_wait_seconds_count")
}

// Deaths at an address wait for its listener to become known; when it does not,
// they are not forgotten.
func TestDeathsWithoutAListener(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelPort}})
	take := func(at int64, rows ...listener.Row) string {
		l := look(rows...)
		l.Time = at * second
		return text(t, b, b.Take(l))
	}
	stray := func(n uint64) listener.Row {
		return row("127.0.0.1:80", func(r *listener.Row) { r.Open, r.Family, r.CloseWait, r.Backlog = 0, 0, n, 0 })
	}
	wantLines(t, take(1000, stray(3)), `close_wait_total{port="other"} 0`, "close_wait_total")
	wantLines(t, take(1010, row("127.0.0.1:80", func(r *listener.Row) { r.CloseWait = 4 })), `
close_wait_total{port="80"} 4
close_wait_total{port="other"} 0
`, "close_wait_total")

	b = NewBook(Options{Labels: []Label{LabelPort}})
	take(1000, stray(3))
	wantLines(t, take(1060, stray(3)), `close_wait_total{port="other"} 3`, "close_wait_total")
	wantLines(t, take(1070, stray(5)), `close_wait_total{port="other"} 5`, "close_wait_total")
}

// Who hung up and then reset is one that died, also when the two counts of it are
// read one after the other.
func TestTheDeadAreCountedOnce(t *testing.T) {
	b := NewBook(Options{Labels: []Label{LabelPort}})
	for _, step := range []struct {
		closeWait, reset, after uint64
		want                    string
	}{
		{10, 0, 0, "10"}, {10, 3, 1, "12"}, {10, 4, 1, "13"}, {10, 4, 2, "13"}, {10, 5, 2, "13"}, {11, 5, 2, "14"},
	} {
		out := text(t, b, b.Take(look(row("127.0.0.1:80", func(r *listener.Row) {
			r.CloseWait, r.Reset, r.ResetAfterFIN = step.closeWait, step.reset, step.after
		}))))
		wantLines(t, out, `dead_total{port="80"} `+step.want, "dead_total")
	}
}
