package peers

import "slices"

// RatioOf makes a Ratio of the ratios of pairs, whatever their distribution: the
// number of them below the true median is binomial with 1/2. With fewer than 6 there
// is no such interval: ok is false.
func RatioOf(pairs []float64) (_ Ratio, ok bool) {
	n := len(pairs)
	outside, ok := ranksOutside(n)
	if !ok {
		return Ratio{}, false
	}
	sorted := slices.Sorted(slices.Values(pairs))
	median := sorted[n/2]
	if n%2 == 0 {
		median = (sorted[n/2-1] + median) / 2
	}
	return Ratio{median, sorted[outside], sorted[n-1-outside]}, true
}

// ranksOutside is how many of n values may be left out at each end.
func ranksOutside(n int) (int, bool) {
	const outside = 0.05 / 2 // at each end
	if n < 1 || n > 1000 {
		return 0, false
	}
	// The probability that exactly k of n are below, summed up from k = 0.
	term := 1.0
	for range n {
		term /= 2
	}
	sum := 0.0
	for k := range n {
		sum += term
		if sum > outside {
			return k - 1, k > 0
		}
		term *= float64(n-k) / float64(k+1)
	}
	return 0, false
}
