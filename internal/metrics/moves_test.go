package metrics

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/listener"
)

// watched is a table, and a book that follows it.
type watched struct {
	t     *testing.T
	table *listener.Table
	book  *Book
	at    int64 // s
}

func watch(t *testing.T, o listener.Options) *watched {
	o.Start = second
	w := &watched{t, listener.New(o), NewBook(Options{Labels: []Label{LabelPort}}), 1000}
	w.table.Report(w.book)
	return w
}

// take updates the table after some seconds, and looks at it.
func (w *watched) take(after int64, s listener.Sample, names ...string) string {
	w.at += after
	s.Time = w.at * second
	w.table.Update(&s, nil)
	l := look(w.table.Rows()...)
	l.Time, l.Failures = s.Time, w.table.AcceptErrors()
	return strings.TrimSpace(lines(w.t, text(w.t, w.book, w.book.Take(l)), names...))
}

func key(addr string) listener.Key {
	return listener.Key{NetNS: 4026531840, Addr: netip.MustParseAddrPort(addr)}
}

// What was counted in other while the listener of an address was not known stays
// there, and is not counted again when it becomes known.
func TestDeathsOfALateListenerAreCountedOnce(t *testing.T) {
	w := watch(t, listener.Options{})
	dead := func(stray, nowhere uint64, all ...listener.Counted) listener.Sample {
		return listener.Sample{Listeners: all, Addresses: []listener.AtAddress{
			{Key: key("10.0.0.1:80"), CloseWait: stray}, {CloseWait: nowhere},
		}}
	}
	known := listener.Counted{ID: 7, Key: key("0.0.0.0:80"), Family: 2, Backlog: 128}
	for _, step := range []struct {
		after  int64
		sample listener.Sample
		want   string
	}{
		{0, dead(3, 0), `close_wait_total{port="other"} 0`},
		{60, dead(3, 0), `close_wait_total{port="other"} 3`},
		{15, dead(4, 0), `close_wait_total{port="other"} 4`},
		{15, dead(6, 0, known), "close_wait_total{port=\"80\"} 2\nclose_wait_total{port=\"other\"} 4"},
		{15, dead(7, 5, known), "close_wait_total{port=\"80\"} 3\nclose_wait_total{port=\"other\"} 9"},
		{15, dead(7, 6, known), "close_wait_total{port=\"80\"} 3\nclose_wait_total{port=\"other\"} 10"},
	} {
		if got := w.take(step.after, step.sample, "close_wait_total"); got != step.want {
			t.Errorf("at %d s:\n%s\nwant:\n%s", w.at, got, step.want)
		}
	}
}

// Failed accepts wait for their listener, too; those that have waited for long
// enough stay where they were counted.
func TestFailuresOfALateListenerAreCountedOnce(t *testing.T) {
	failed := func(n uint64, all ...listener.Counted) listener.Sample {
		return listener.Sample{Listeners: all, AcceptErrors: []listener.AcceptError{{ListenerID: 7, PID: 1, Errno: 24, Count: n, Last: 1}}}
	}
	known := listener.Counted{ID: 7, Key: key("0.0.0.0:80"), Family: 2, Backlog: 128}
	of := func(port, n string) string {
		return "accept_errors_total{errno=\"EMFILE\",port=\"" + port + "\"} " + n +
			"\naccept_errors_total{errno=\"ENFILE\",port=\"" + port + "\"} 0"
	}
	type step struct {
		after  int64
		sample listener.Sample
		want   string
	}
	for name, steps := range map[string][]step{
		"soon": {
			{0, failed(5), of("other", "0")},
			{15, failed(5, known), of("80", "5") + "\n" + of("other", "0")},
			{90, failed(9, known), of("80", "9") + "\n" + of("other", "0")},
		},
		"late": {
			{0, failed(5), of("other", "0")},
			{60, failed(6), of("other", "6")},
			{15, failed(8), of("other", "8")},
			{15, failed(11, known), of("80", "3") + "\n" + of("other", "8")},
			{15, failed(12, known), of("80", "4") + "\n" + of("other", "8")},
		},
		"before the first look at any": {
			{0, failed(5, known), of("80", "5")},
		},
	} {
		w := watch(t, listener.Options{})
		for _, s := range steps {
			got := strings.Split(w.take(s.after, s.sample, "accept_errors_total"), "\n")
			want := strings.Split(s.want, "\n")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s, at %d s: %q, want %q", name, w.at, got, want)
			}
		}
	}
}

// increase() is to see the first failures of a listener that does not become known,
// of any errno.
func TestWhatComesToOtherWasZeroBefore(t *testing.T) {
	w := watch(t, listener.Options{})
	none := listener.Sample{}
	failed := listener.Sample{AcceptErrors: []listener.AcceptError{{ListenerID: 7, PID: 1, Errno: uint16(unix.ENOMEM), Count: 5, Last: 1}}}
	const series = `accept_errors_total{errno="ENOMEM",port="other"} `
	for _, step := range []struct {
		after  int64
		sample listener.Sample
		want   string
	}{{0, none, ""}, {15, failed, series + "0"}, {45, failed, series + "0"}, {15, failed, series + "5"}, {15, failed, series + "5"}} {
		got := ""
		for line := range strings.Lines(w.take(step.after, step.sample, "accept_errors_total")) {
			if strings.Contains(line, "ENOMEM") {
				got += strings.TrimSpace(line)
			}
		}
		if got != step.want {
			t.Errorf("at %d s: %q, want %q", w.at, got, step.want)
		}
	}
}

// Rows of closed listeners that a table has no room for are counted once, as is a
// listener that comes back to the address of one.
func TestRowsBeyondTheMostAreCountedOnce(t *testing.T) {
	w := watch(t, listener.Options{MaxRows: 1})
	sum := uint64(0)
	for i := range 6 {
		id := uint64(i + 1)
		open := listener.Counted{ID: id, Key: key(numbered(i % 3)), Family: 2, Enqueued: 10, Accepted: 10}
		w.take(1, listener.Sample{Listeners: []listener.Counted{open}}, "accepted_total")
		open.Closed, open.Accepted = true, 10+id
		for range 3 {
			w.take(1, listener.Sample{Listeners: []listener.Counted{open}}, "accepted_total")
			open = listener.Counted{ID: 0}
		}
		sum += 10 + id
		got := uint64(0)
		for line := range strings.Lines(w.take(1, listener.Sample{}, "accepted_total")) {
			n, err := strconv.ParseUint(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if got != sum {
			t.Errorf("after %d listeners, %d were accepted; want %d", id, got, sum)
		}
	}
}
