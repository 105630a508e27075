package ui

import (
	"testing"
	"time"

	"acceptwatch/internal/listener"
)

func TestWaitsAreSaidToBeOfThoseSeenWaiting(t *testing.T) {
	waited := listener.Waits{Count: 2, P50: time.Second, P90: 2 * time.Second, P99: 2 * time.Second, Max: 2 * time.Second}
	const told = "p50 1.00 s, p90 2.00 s, p99 2.00 s, max 2.00 s"
	for _, test := range []struct {
		row  listener.Row
		want string
	}{
		{listener.Row{Accepted: 2, Wait: waited}, "waited " + told},
		{listener.Row{Accepted: 50, Seen: 2, Sampled: true, Wait: waited}, "2 of them seen waiting: " + told},
		{listener.Row{Accepted: 2, Seen: 2, Sampled: true, Wait: waited}, "all of them seen waiting: " + told},
		{listener.Row{Accepted: 50, Sampled: true}, "none of them seen waiting"},
		{listener.Row{Sampled: true}, ""},
		{listener.Row{Accepted: 50, Sampled: true, AtLeast: true}, "none of them seen waiting; at least: " + leastText},
		{listener.Row{Sampled: true, AtLeast: true}, "at least: " + leastText},
	} {
		if got := accepted(&Listener{Row: test.row}); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
