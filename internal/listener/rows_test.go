package listener

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Rows change places, and none is lost or told twice.
func TestManyRowsAreSorted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 100, 1001} {
		rows := make([]Row, n)
		for i := range rows {
			rows[i] = Row{ID: uint64(i + 1), Backlog: 16, Depth: r.Uint32N(3), Accepted: r.Uint64N(4),
				Key:  Key{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i))},
				Wait: Waits{P99: time.Duration(r.IntN(2))}}
		}
		r.Shuffle(n, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		worstFirst(rows)
		if !slices.IsSortedFunc(rows, func(a, b Row) int { return worse(&a, &b) }) {
			t.Errorf("%d rows are not sorted", n)
		}
		seen := make(map[uint64]bool)
		for i := range rows {
			seen[rows[i].ID] = true
		}
		if len(seen) != n {
			t.Errorf("%d of %d rows are left", len(seen), n)
		}
	}
}
