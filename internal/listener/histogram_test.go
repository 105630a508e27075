package listener

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// naive is the rule as the design states it.
func naive(v uint64) int {
	if v < 32 {
		return int(v)
	}
	if v >= 1<<36 {
		return 1023
	}
	e := int(math.Floor(math.Log2(float64(v))))
	return (e-4)*32 + int((v>>(e-5))&31)
}

func TestBucketOf(t *testing.T) {
	for _, tc := range []struct {
		us   uint64
		want int
	}{
		{0, 0}, {31, 31}, {32, 32}, {63, 63}, {64, 64}, {65, 64}, {66, 65}, {127, 95}, {128, 96},
		{1000, 190}, {1 << 20, 16 * 32}, {1<<36 - 1, 1023}, {1 << 36, 1023}, {math.MaxUint64, 1023},
	} {
		if got := BucketOf(tc.us); got != tc.want {
			t.Errorf("%d µs: bucket %d, want %d", tc.us, got, tc.want)
		}
	}
}

func TestBucketsCoverEveryValueOnce(t *testing.T) {
	next := uint64(0)
	for i := range Buckets {
		lo, hi := BucketBounds(i)
		if lo != next || hi <= lo {
			t.Fatalf("bucket %d is [%d,%d), the one before ends at %d", i, lo, hi, next)
		}
		if BucketOf(lo) != i || BucketOf(hi-1) != i {
			t.Errorf("bucket %d: its bounds are in %d and %d", i, BucketOf(lo), BucketOf(hi-1))
		}
		next = hi
	}
	if next != 1<<36 {
		t.Errorf("the last bucket ends at %d", next)
	}
}

func FuzzBucketOf(f *testing.F) {
	f.Add(uint64(0))
	f.Add(uint64(31))
	f.Add(uint64(1<<36 - 1))
	f.Fuzz(func(t *testing.T, us uint64) {
		i := BucketOf(us)
		if us < 1<<48 && i != naive(us) { // beyond, Log2 rounds
			t.Errorf("%d µs: bucket %d, by the rule %d", us, i, naive(us))
		}
		lo, hi := BucketBounds(i)
		if us < lo || us >= hi && i != Buckets-1 {
			t.Errorf("%d µs is in bucket [%d,%d)", us, lo, hi)
		}
	})
}

// nearestRank is the exact quantile of sorted waits.
func nearestRank(sorted []time.Duration, q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func TestQuantileIsWithinThreePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	us := func(f float64) time.Duration { return time.Duration(f) * time.Microsecond }
	for name, draw := range map[string]func() time.Duration{
		"uniform":     func() time.Duration { return us(r.Float64() * 1e6) },
		"exponential": func() time.Duration { return us(r.ExpFloat64() * 500) },
		"log-normal":  func() time.Duration { return us(math.Exp(r.NormFloat64()*3 + 6)) },
		"pareto":      func() time.Duration { return us(50 / math.Pow(1-r.Float64(), 1.5)) },
		"constant":    func() time.Duration { return us(123_457) },
		"two modes": func() time.Duration {
			if r.IntN(10) == 0 {
				return us(3e7 + r.Float64()*1e6)
			}
			return us(20 + r.Float64()*20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 2, 10, 1000, 50_000} {
				var h Histogram
				waits := make([]time.Duration, n)
				for i := range waits {
					waits[i] = min(draw(), us(1<<36-1))
					h.Add(waits[i])
				}
				slices.Sort(waits)
				for _, q := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
					got, want := h.Quantile(q), nearestRank(waits, q)
					off := math.Abs(float64(got-want)) / max(float64(want), 1)
					if off > 1.0/65+1e-9 || want < 64*time.Microsecond && got != want {
						t.Errorf("n %d, q %v: %v, want %v (off by %.2f %%)", n, q, got, want, off*100)
					}
					if got > waits[n-1] {
						t.Errorf("n %d, q %v: %v is above the greatest, %v", n, q, got, waits[n-1])
					}
				}
			}
		})
	}
}

func TestQuantileOfNoneIsZero(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Count() != 0 {
		t.Error(h.Quantile(0.5), h.Count())
	}
	if _, known := h.Max(); known {
		t.Error("the greatest of none is known")
	}
}

func TestMaxIsKnownOnlyWhenAllCameWithOne(t *testing.T) {
	var h Histogram
	h.Add(70 * time.Microsecond)
	if got, known := h.Max(); got != 70*time.Microsecond || !known {
		t.Error(got, known)
	}
	h.AddBuckets([]uint32{64: 0, 200: 2})
	if _, known := h.Max(); known {
		t.Error("known although buckets came without one")
	}
	if lo, _ := BucketBounds(200); h.Quantile(1) < time.Duration(lo)*time.Microsecond {
		t.Errorf("capped by a greatest wait that is not: %v", h.Quantile(1))
	}
	lo, _ := BucketBounds(200)
	greatest := time.Duration(lo)*time.Microsecond + 7
	h.NoteMax(greatest)
	if got := h.Quantile(0.99); got != greatest {
		t.Errorf("%v, want it capped to %v", got, greatest)
	}
}

func TestMergeIsAddingAll(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var a, b, both Histogram
		for range r.IntN(20) {
			w := time.Duration(r.Int64N(1 << r.IntN(50)))
			a.Add(w)
			both.Add(w)
		}
		for range r.IntN(20) {
			w := time.Duration(r.Int64N(1 << r.IntN(50)))
			b.Add(w)
			both.Add(w)
		}
		before := b.Clone()
		a.Merge(&b)
		a.Merge(nil)
		if a.Count() != both.Count() {
			t.Fatalf("%d waits, want %d", a.Count(), both.Count())
		}
		for _, q := range []float64{0, 0.3, 0.5, 0.99, 1} {
			if a.Quantile(q) != both.Quantile(q) {
				t.Errorf("q %v: %v, want %v", q, a.Quantile(q), both.Quantile(q))
			}
		}
		if b.Count() != before.Count() || b.Quantile(0.5) != before.Quantile(0.5) {
			t.Error("merging changed what was merged")
		}
	}
}

func TestAllYieldsWhatWasAdded(t *testing.T) {
	var h Histogram
	h.AddBuckets(append(make([]uint32, Buckets), 99)) // more than there are
	h.AddBucket(7, 3)
	h.AddBucket(Buckets-1, 1)
	h.AddBucket(0, 2)
	got := map[int]uint64{}
	for i, n := range h.All() {
		got[i] = n
	}
	if len(got) != 3 || got[7] != 3 || got[Buckets-1] != 1 || got[0] != 2 || h.Count() != 6 {
		t.Error(got, h.Count())
	}
}

func FuzzHistogram(f *testing.F) {
	f.Add(int64(5), int64(-1), 0.5)
	f.Add(int64(math.MaxInt64), int64(1), 0.99)
	f.Fuzz(func(t *testing.T, a, b int64, q float64) {
		var h Histogram
		h.Add(time.Duration(a))
		h.Add(time.Duration(b))
		got := h.Quantile(q)
		if most, _ := h.Max(); got < 0 || got > most {
			t.Errorf("quantile %v of %d and %d: %v", q, a, b, got)
		}
	})
}

// What has come since is what is there and was not, however the two overlap.
func TestAddGrownIsTheDifference(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var was, since Histogram
		for range r.IntN(20) {
			was.AddBucket(r.IntN(Buckets), r.Uint64N(5))
		}
		now := was.Clone()
		want := map[int]uint64{}
		for range r.IntN(20) {
			i, n := r.IntN(Buckets), r.Uint64N(5)
			now.AddBucket(i, n)
			if n > 0 {
				want[i] += n
			}
		}
		since.AddGrown(now, &was)
		got := map[int]uint64{}
		for i, n := range since.All() {
			got[i] = n
		}
		if !maps.Equal(got, want) || since.Count() != now.Count()-was.Count() {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	var all, none Histogram
	all.AddGrown(&Histogram{}, nil)
	none.AddGrown(nil, &all)
	none.AddBucket(3, 7)
	all.AddGrown(&none, nil)
	if all.Count() != 7 {
		t.Errorf("%d of what was nothing before, want 7", all.Count())
	}
}
