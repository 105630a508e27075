package report

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"

	"golang.org/x/sys/unix"
)

// Patience is how long clients were willing to wait in a queue: the waits of
// those that gave up while they were in it, each once. A client's timeout shows
// as a cluster.
type Patience struct {
	// Known are those whose wait is known, which the bins and clusters are of.
	Known uint64
	// Late are those that were found dead later: the event was missed, so that
	// nobody saw when they gave up.
	Late uint64
	// Vanished are those that stopped answering, and did not give up.
	Vanished uint64
	Bins     []PatienceBin // not empty, shortest first
	Clusters []Cluster     // the largest first
}

// PatienceBin counts clients by their wait, in buckets of a listener.Histogram.
type PatienceBin struct {
	From, To time.Duration // To itself is not in it
	Count    uint64
	sum      float64 // ns
}

// patienceSum is what is collected of a bin.
type patienceSum struct {
	count uint64
	sum   float64 // ns
}

// Cluster is many clients that gave up after nearly the same wait.
type Cluster struct {
	From, To time.Duration // To itself is not in it
	Mean     time.Duration // exact
	Count    uint64        // clients
	Share    float64       // of all whose wait is known, 0 to 1
}

// patience collects a Patience.
type patience struct {
	bins           map[int]patienceSum
	late, vanished uint64
}

func (p *patience) note(e *event.Event) {
	wait, known := e.Wait()
	switch {
	case e.Kind == event.Reset && unix.Errno(e.Errno) == unix.ETIMEDOUT:
		p.vanished++
	case e.Flags&event.Recovered != 0 || !known:
		p.late++
	default:
		p.add(wait)
	}
}

func (p *patience) add(wait time.Duration) {
	i := listener.BucketOf(uint64(wait / time.Microsecond))
	if p.bins == nil {
		p.bins = make(map[int]patienceSum)
	}
	b := p.bins[i]
	b.count++
	b.sum += float64(wait)
	p.bins[i] = b
}

func (p *patience) result() Patience {
	r := Patience{Late: p.late, Vanished: p.vanished}
	index := slices.Sorted(maps.Keys(p.bins))
	r.Bins = slices.Grow(r.Bins, len(index))
	for _, i := range index {
		b := p.bins[i]
		lo, hi := listener.BucketBounds(i)
		r.Bins = append(r.Bins, PatienceBin{
			From: time.Duration(lo) * time.Microsecond, To: time.Duration(hi) * time.Microsecond,
			Count: b.count, sum: b.sum,
		})
		r.Known += b.count
	}
	r.Clusters = clusters(r.Bins, r.Known)
	return r
}

// What makes a cluster: so many clients, so large a part of all, within so
// narrow a band.
const (
	clusterLeast = 5
	clusterShare = 0.1
	clusterBand  = 1.15
	mostClusters = 3
)

// clusters finds the bands with the most clients, one after the other.
func clusters(bins []PatienceBin, all uint64) []Cluster {
	used := make([]bool, len(bins))
	var found []Cluster
	for len(found) < mostClusters {
		var best Cluster
		var first, last int
		for from := range bins {
			var c Cluster
			sum := 0.0
			to := from
			for ; to < len(bins) && !used[to] && float64(bins[to].To) <= clusterBand*float64(bins[from].From); to++ {
				c.Count += bins[to].Count
				sum += bins[to].sum
			}
			if c.Count > best.Count {
				c.From, c.To = bins[from].From, bins[to-1].To
				c.Mean = time.Duration(math.Round(sum / float64(c.Count)))
				best, first, last = c, from, to
			}
		}
		if best.Count < clusterLeast || float64(best.Count) < clusterShare*float64(all) {
			break
		}
		for i := first; i < last; i++ {
			used[i] = true
		}
		best.Share = float64(best.Count) / float64(all)
		found = append(found, best)
	}
	slices.SortStableFunc(found, func(a, b Cluster) int { return cmp.Compare(b.Count, a.Count) })
	return found
}
