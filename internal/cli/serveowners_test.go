package cli

import (
	"testing"
	"time"

	"acceptwatch/internal/metrics"
	"acceptwatch/internal/owner"
)

// Scrapes look up who holds the listeners that have appeared; that of those that
// are known is looked up again beside them, once a minute.
func TestScrapesDoNotWaitForOwnersThatAreKnown(t *testing.T) {
	k := &hastyKernel{fakeKernel: incidentKernel(), hasty: true}
	a := fakeApp(k.fakeKernel, nil)
	asked, owners := 0, a.env.owners
	a.env.owners = func(inodes map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
		asked++
		return owners(inodes)
	}
	o := &serveOptions{metrics: metrics.Options{Labels: []metrics.Label{metrics.LabelProcess}}}
	s := newScrapes(a, o)
	s.live = newLive(a, k, &o.trace, silent{}, newWallClock(&a.env))
	scrape := func(want int, why string) {
		t.Helper()
		for range 3 {
			if got := s.take(); got.err != nil {
				t.Fatal(got.err)
			}
		}
		if asked != want {
			t.Errorf("%d looks at the processes, want %d: %s", asked, want, why)
		}
	}
	scrape(1, "a listener that was there")
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{time.Second, 2}, {time.Minute, 2}, {time.Minute + time.Second, 3}, {2 * time.Minute, 3}, {3 * time.Minute, 4}} {
		s.renew(began + int64(step.after))
		scrape(step.want, "after "+step.after.String())
	}
}
