package top

import (
	"cmp"
	"slices"
)

// order is by what the listeners are sorted.
type order uint8

const (
	byWorst order = iota
	byAddress
	byQueue
	byOldest
	byRate
	byWait
	byDead
	byOverflow
	byErrors
	orders // how many there are
)

func (o order) String() string {
	return [...]string{"worst", "address", "queue", "oldest", "rate", "p99", "dead", "overflow", "errors"}[o]
}

// apply sorts places that come with the worst first, which also decides what is
// equal otherwise.
func (o order) apply(list []*place, upward bool) {
	by := o.compare()
	if by != nil {
		slices.SortStableFunc(list, by)
	}
	if upward {
		slices.Reverse(list)
	}
}

func (o order) compare() func(a, b *place) int {
	switch o {
	case byAddress:
		return func(a, b *place) int { return a.name.Key.Addr.Compare(b.name.Key.Addr) }
	case byQueue:
		return func(a, b *place) int { return cmp.Compare(b.fill(), a.fill()) }
	case byOldest:
		return func(a, b *place) int { return cmp.Compare(b.oldest(), a.oldest()) }
	case byRate:
		return func(a, b *place) int { return cmp.Compare(b.rate, a.rate) }
	case byWait:
		return func(a, b *place) int { return cmp.Compare(b.interval.P99, a.interval.P99) }
	case byDead:
		return func(a, b *place) int { return cmp.Compare(b.l.Unaccepted.Dead(), a.l.Unaccepted.Dead()) }
	case byOverflow:
		return func(a, b *place) int { return cmp.Compare(b.l.Overflow(), a.l.Overflow()) }
	case byErrors:
		return func(a, b *place) int { return cmp.Compare(b.l.Failed(), a.l.Failed()) }
	}
	return nil
}
