package metrics

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

const second = int64(time.Second)

// row is a listener that is open, at a time of 1000 s.
func row(addr string, change func(*listener.Row)) listener.Row {
	r := listener.Row{
		Key:    listener.Key{NetNS: 4026531840, Addr: netip.MustParseAddrPort(addr)},
		Family: 2, Open: 1, Inode: 7, Backlog: 128, Time: 1000 * second,
	}
	if change != nil {
		change(&r)
	}
	return r
}

func histogram(all ...time.Duration) *listener.Histogram {
	h := &listener.Histogram{}
	for _, wait := range all {
		h.Add(wait)
	}
	return h
}

func comm(name string) (c event.Comm) {
	copy(c[:], name)
	return c
}

// busy is a listener that everything has happened to.
func busy(addr string) listener.Row {
	return row(addr, func(r *listener.Row) {
		r.Depth, r.OldestQueued, r.StalledSince = 129, 986*second, 986*second
		r.Enqueued, r.Accepted, r.AcceptedDead = 1234, 1100, 12
		r.CloseWait, r.Reset, r.ResetAfterFIN = 23, 4, 1
		r.OverflowSYN, r.OverflowACK, r.Purged = 77, 2, 5
		r.MigratedIn, r.MigratedOut = 3, 1
		r.MaxDepth, r.MaxDepthBacklog, r.Full = 129, 128, 12500*time.Millisecond
		r.AcceptErrors = []listener.AcceptFailures{
			{PID: 12, Comm: comm("python3"), Errno: 24, Count: 400}, {PID: 13, Comm: comm("python3"), Errno: 24, Count: 1},
			{PID: 12, Comm: comm("python3"), Errno: 105, Count: 2},
		}
		r.Wait.Histogram = histogram(0, 3*time.Microsecond, 70*time.Microsecond, 90*time.Microsecond, time.Millisecond, 2*time.Second, 2*time.Second, time.Minute)
	})
}

func look(rows ...listener.Row) *Look { return &Look{Time: 1000 * second, Mode: "fentry", Rows: rows} }

// text is the text exposition of metrics.
func text(t testing.TB, b *Book, all []prometheus.Metric) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(NewCollector(b, func() ([]prometheus.Metric, error) { return all, nil }))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// lines are those of some metrics, without their prefix.
func lines(t testing.TB, text string, names ...string) string {
	t.Helper()
	var found strings.Builder
	for line := range strings.Lines(text) {
		for _, name := range names {
			if rest, ok := strings.CutPrefix(line, "acceptwatch_"+name); ok && (rest[0] == '{' || rest[0] == ' ') {
				found.WriteString(strings.TrimPrefix(line, "acceptwatch_"))
			}
		}
	}
	return found.String()
}

// wantLines checks these metrics, all of them.
func wantLines(t testing.TB, text string, want string, names ...string) {
	t.Helper()
	if got := lines(t, text, names...); strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func process(pid int, comm string, place owner.Place) owner.Process {
	return owner.Process{PID: pid, Comm: comm, Identity: owner.Identity{Place: place}}
}

func numbered(n int) string { return fmt.Sprintf("127.0.0.1:%d", 10000+n) }
