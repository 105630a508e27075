package cli

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/metrics"
)

// counterOf sums up a counter, of the series that have a label's value.
func counterOf(t *testing.T, all []prometheus.Metric, name, value string) (sum float64) {
	t.Helper()
	for _, m := range all {
		var one dto.Metric
		if err := m.Write(&one); err != nil {
			t.Fatal(err)
		}
		for _, label := range one.GetLabel() {
			if strings.Contains(m.Desc().String(), `"`+name+`"`) && label.GetValue() == value {
				sum += one.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// A failed accept of a process that --comm does not name, at a listener that becomes
// known late, was counted nowhere: that it has its place now takes nothing from
// those of a process that is named.
func TestFailuresThatTheFilterHidesMoveNothing(t *testing.T) {
	const minute = 60 * second
	web := listener.AcceptError{ListenerID: 7, PID: 1, Errno: 24, Count: 5, Last: 1}
	other := listener.AcceptError{ListenerID: 8, PID: 2, Errno: 24, Count: 5, Last: 1}
	copy(web.Comm[:], "web")
	copy(other.Comm[:], "other")
	at := func(id uint64, port uint16) listener.Counted {
		key := listener.Key{NetNS: testNetNS, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
		return listener.Counted{ID: id, Key: key, Family: 2, Backlog: 16}
	}
	hosts := &gatherer{filter: &filter.Filter{Comms: []string{"web"}}}
	table, book := listener.New(listener.Options{Start: 1}), metrics.NewBook(metrics.Options{})
	table.Report(selectedMoves{book, hosts})
	for i, step := range []struct {
		known []listener.Counted
		want  float64
	}{
		{nil, 0},
		{nil, 5}, // it has waited for a minute
		{[]listener.Counted{at(8, 8008)}, 5},
		{[]listener.Counted{at(8, 8008), at(7, 8007)}, 5},
	} {
		now := began + int64(i)*minute
		table.Update(&listener.Sample{Time: now, Listeners: step.known, AcceptErrors: []listener.AcceptError{web, other}}, nil)
		var rows []listener.Row
		for _, row := range table.Rows() {
			if hosts.concerns(&row, nil) {
				rows = append(rows, row)
			}
		}
		all := book.Take(&metrics.Look{Time: now, Mode: "fentry", Rows: rows, Failures: hosts.unplaced(table.AcceptErrors())})
		if got := counterOf(t, all, "acceptwatch_accept_errors_total", "EMFILE"); got != step.want {
			t.Errorf("step %d: %v failed accepts of web, want %v", i, got, step.want)
		}
	}
}
