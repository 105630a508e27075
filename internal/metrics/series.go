package metrics

import (
	"time"

	dto "github.com/prometheus/client_model/go"

	"acceptwatch/internal/listener"
)

// series are all metrics of one set of labels.
type series struct {
	labels []*dto.LabelPair // sorted, never changed
	with   map[pairKey][]*dto.LabelPair

	counts counts
	waits  listener.Histogram
	shown  int // looks since it was closed
	// histogram is waits as it was shown last; nil: they have changed since.
	histogram *dto.Histogram
	closedAt  int64 // ns: the look at which no listener was open any more; 0: one is

	now state
	// maxDepth is the most of one queue.
	maxDepth uint32
	open     int
}

// state is how the queues are.
type state struct {
	depth, limit uint64
	oldest       time.Duration // of those known
	unknown      bool          // of some it is not known
	stalled      bool
}

type pairKey struct{ name, value string }

// begin is before the rows of a look are seen.
func (s *series) begin() { s.now, s.open = state{}, 0 }

// see takes the state of a row.
func (s *series) see(r *listener.Row) {
	s.open += r.Open
	s.maxDepth = max(s.maxDepth, r.MaxDepth)
	s.now.limit += uint64(r.Backlog)
	s.now.stalled = s.now.stalled || r.StalledSince != 0
	if r.Depth == 0 {
		return
	}
	if age, known := r.Oldest(); known {
		s.now.oldest = max(s.now.oldest, age)
	} else {
		s.now.unknown = true
	}
	s.now.depth += uint64(r.Depth)
}

// addWaits adds the waits that one histogram has more than another. Waits only
// come, so one with as many has the same.
func (s *series) addWaits(now, was *listener.Histogram) {
	if waitsIn(now) != waitsIn(was) {
		s.waits.AddGrown(now, was)
		s.histogram = nil
	}
}

func waitsIn(h *listener.Histogram) uint64 {
	if h == nil {
		return 0
	}
	return h.Count()
}

// labelled are the labels and one more. The result is to read only.
func (s *series) labelled(name, value string) []*dto.LabelPair {
	key := pairKey{name, value}
	pairs := s.with[key]
	if pairs == nil {
		pairs = append(append(make([]*dto.LabelPair, 0, len(s.labels)+1), s.labels...), pair(name, value))
		sortPairs(pairs)
		if s.with == nil {
			s.with = make(map[pairKey][]*dto.LabelPair)
		}
		s.with[key] = pairs
	}
	return pairs
}
