package listener

import "testing"

// A part of a recording is told of its deepest queue only if that was the deepest
// so far: otherwise it is not known.
func TestDeepestSinceIsKnownIfItGrew(t *testing.T) {
	bound := key("10.0.0.1:80")
	table := New(Options{})
	sampled := func(at int64, deepest uint32) {
		table.Update(&Sample{Time: at, Listeners: []Counted{{ID: 1, Key: bound, Family: 2, Backlog: 128, MaxDepth: deepest}}}, nil)
	}
	sampled(second, 100)
	base := table.Baseline()
	for _, test := range []struct {
		now, want uint32
		unknown   bool
	}{{100, 0, true}, {101, 101, false}} {
		sampled(2*second, test.now)
		r := base.RowsSince(table.Rows())[0]
		if r.MaxDepth != test.want || r.MaxDepthUnknown != test.unknown {
			t.Errorf("%d so far: %d, not known: %t", test.now, r.MaxDepth, r.MaxDepthUnknown)
		}
	}
}
