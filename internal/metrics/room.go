package metrics

import (
	"slices"
	"time"
)

const (
	// keepClosed is how long a series without an open listener stays, in ns.
	keepClosed = int64(10 * time.Minute)
	// keepShown is how often it was shown when its place can be given away.
	keepShown = 2
)

// seriesOf is the series of these labels, or that of what finds no room.
func (b *Book) seriesOf(key labelSet, folded map[labelSet]struct{}) *series {
	if s := b.series[key]; s != nil {
		return s
	}
	if key == others(b.opt.Labels) { // a process may have that name
		return b.others()
	}
	// Once that there was no room, there is none until the next look.
	if len(b.series) >= b.opt.Most && (len(folded) > 0 || !b.makeRoom()) {
		folded[key] = struct{}{}
		return b.others()
	}
	s := &series{labels: key.pairs(b.opt.Labels)}
	b.series[key] = s
	return s
}

func (b *Book) others() *series {
	if b.other == nil {
		key := others(b.opt.Labels)
		b.other = &series{labels: key.pairs(b.opt.Labels)}
	}
	return b.other
}

// makeRoom gives up the series that has been without a listener for the longest,
// and was shown since. It reports false if there is none.
func (b *Book) makeRoom() bool {
	var oldest labelSet
	var s *series
	for key, has := range b.series {
		if has.closedAt != 0 && has.shown >= keepShown && (s == nil || has.closedAt < s.closedAt) {
			oldest, s = key, has
		}
	}
	if s == nil {
		return false
	}
	delete(b.series, oldest)
	return true
}

// drop gives up the series that have been without a listener for long enough.
func (b *Book) drop(now int64) {
	for key, s := range b.series {
		switch {
		case s.open > 0:
			s.closedAt, s.shown = 0, 0
		case s.closedAt == 0:
			s.closedAt, s.shown = now, 1
		case now-s.closedAt >= keepClosed:
			delete(b.series, key)
		default:
			s.shown++
		}
	}
}

// keys are the label sets, in order.
func (b *Book) keys() []labelSet {
	keys := make([]labelSet, 0, len(b.series))
	for key := range b.series {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(x, y labelSet) int { return slices.Compare(x[:], y[:]) })
	return keys
}
