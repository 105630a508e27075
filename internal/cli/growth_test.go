//go:build growth

package cli

import (
	"os"
	"testing"

	"acceptwatch/internal/growth"
)

// What a second of the traced host costs the tracer, by connections in it.
func TestGrowthByRate(t *testing.T) {
	for _, out := range pipelines {
		s := growth.Series{Cost: "user space of " + out.does, Unit: "cores", By: "connections a second", Where: "In user space, from the bytes of the ring buffer on", Linear: true}
		for _, rate := range []int{100, 1_000, 10_000, 100_000, 1_000_000} {
			r := testing.Benchmark(func(b *testing.B) { out.run(b, newRingSource(rate)) })
			if r.N == 0 {
				t.Fatalf("%s at %d a second: the benchmark failed", out.does, rate)
			}
			s.Points = append(s.Points, growth.Point{Size: float64(rate), Cost: r.Extra["cores"]})
		}
		if err := s.Print(os.Stdout); err != nil {
			t.Fatal(err)
		}
	}
}
