package listener

import (
	"net/netip"
	"testing"
	"time"
)

// Many listeners, of which a few are used: what a live table costs.
func BenchmarkTenThousandListeners(b *testing.B) {
	t := New(Options{})
	s := Sample{Time: second}
	for i := range 10_000 {
		k := key("0.0.0.0:1")
		k.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(i)}), 8000)
		c := Counted{ID: uint64(1 + i), Key: k, Family: 2, Backlog: 128}
		if i%100 == 0 {
			c.Depth, c.Waits = uint32(1+i/100%7), &Histogram{}
			c.Waits.Add(time.Duration(i) * time.Microsecond)
		}
		s.Listeners = append(s.Listeners, c)
	}
	b.Run("Update", func(b *testing.B) {
		for b.Loop() {
			s.Time += second
			t.Update(&s, nil)
		}
	})
	b.Run("Rows", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			t.Rows()
		}
	})
}
