package symbol

import "slices"

// nearest finds for each of some addresses the symbol that starts closest
// before it, or at it, from symbols in any order.
type nearest[T any] struct {
	addrs []uint64     // ascending
	best  []closest[T] // of the symbols between the address before and this one
}

type closest[T any] struct {
	value uint64
	known bool
	what  T
}

func newNearest[T any](addrs []uint64) *nearest[T] {
	return &nearest[T]{addrs, make([]closest[T], len(addrs))}
}

// closer returns where to say what the symbol is if it is closer to an address
// than those before, else nil.
func (n *nearest[T]) closer(value uint64) *T {
	i, _ := slices.BinarySearch(n.addrs, value)
	if i == len(n.best) || n.best[i].known && n.best[i].value >= value {
		return nil
	}
	n.best[i].value, n.best[i].known = value, true
	return &n.best[i].what
}

// all returns the answers, in the order of the addresses.
func (n *nearest[T]) all() []closest[T] {
	for i := 1; i < len(n.best); i++ {
		if !n.best[i].known {
			n.best[i] = n.best[i-1]
		}
	}
	return n.best
}
