package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"acceptwatch/internal/listener"
)

// decoded are the native buckets by their index.
func decoded(h *dto.Histogram) map[int32]int64 {
	buckets := make(map[int32]int64)
	at, n, next := int32(0), int64(0), 0
	for _, span := range h.PositiveSpan {
		at += span.GetOffset()
		for range span.GetLength() {
			n += h.PositiveDelta[next]
			next++
			buckets[at] += n
			at++
		}
	}
	return buckets
}

// Each wait is in the native bucket and in the classic one that its length says,
// or within 1.6 % of it.
func TestWaitsAreInTheirBuckets(t *testing.T) {
	const off = 1.0 / 64
	all := newWheres()
	for _, wait := range []time.Duration{
		0, 999, time.Microsecond, 2 * time.Microsecond, 63 * time.Microsecond, 64 * time.Microsecond, 100 * time.Microsecond,
		time.Millisecond, 123456 * time.Microsecond, time.Second, 29 * time.Second, time.Hour, 18 * time.Hour,
	} {
		h := all.histogram(histogram(wait))
		s := wait.Truncate(time.Microsecond).Seconds()
		if got := h.GetSampleSum(); h.GetSampleCount() != 1 || math.Abs(got-s) > s*off {
			t.Errorf("%v: count %d, sum %v", wait, h.GetSampleCount(), got)
		}
		buckets := decoded(h)
		if s == 0 {
			if h.GetZeroCount() != 1 || len(buckets) != 0 {
				t.Errorf("%v: %v", wait, h)
			}
		} else {
			if h.GetZeroCount() != 0 || len(buckets) != 1 {
				t.Errorf("%v: %v", wait, h)
			}
			for i, n := range buckets {
				lo, hi := math.Exp2(float64(i-1)/8), math.Exp2(float64(i)/8)
				if n != 1 || s < lo*(1-off) || s > hi*(1+off) || lo < h.GetZeroThreshold() {
					t.Errorf("%v: %d in the bucket from %v to %v s", wait, n, lo, hi)
				}
			}
		}
		for _, c := range h.Bucket {
			le := c.GetUpperBound()
			if within := c.GetCumulativeCount() == 1; within && s > le*(1+off) || !within && s < le*(1-off) {
				t.Errorf("%v: in the bucket up to %v s: %v", wait, le, within)
			}
		}
	}
}

// Any histogram is encoded so that it can be decoded: nothing is lost or moved
// by the gaps between buckets.
func TestNativeBucketsKeepEverything(t *testing.T) {
	all := newWheres()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var h listener.Histogram
		want := make(map[int32]int64)
		zero := uint64(0)
		for range rng.IntN(40) {
			i, n := rng.IntN(listener.Buckets), rng.Uint64N(1000)+1
			h.AddBucket(i, n)
			if i == 0 {
				zero += n
			} else {
				want[all[i].native] += int64(n)
			}
		}
		got := all.histogram(&h)
		sum := got.GetZeroCount()
		for i, n := range decoded(got) {
			if n != want[i] {
				t.Fatalf("bucket %d holds %d, want %d", i, n, want[i])
			}
			sum += uint64(n)
			delete(want, i)
		}
		if len(want) > 0 || got.GetZeroCount() != zero || sum != h.Count() || got.GetSampleCount() != sum {
			t.Fatalf("missing %v; %d of %d", want, sum, h.Count())
		}
	}
}
