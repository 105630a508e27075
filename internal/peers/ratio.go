package peers

import (
	"slices"
)

// MedianOfPairs is the median of ratios, and the interval between two of them that
// holds the true median with a probability of at least 95 %, whatever their
// distribution: the number of ratios below the true median is binomial with 1/2.
// With fewer than 6 there is no such interval: ok is false.
func MedianOfPairs(ratios []float64) (median, low, high float64, ok bool) {
	n := len(ratios)
	outside, ok := ranksOutside(n)
	if !ok {
		return 0, 0, 0, false
	}
	sorted := slices.Sorted(slices.Values(ratios))
	median = sorted[n/2]
	if n%2 == 0 {
		median = (sorted[n/2-1] + median) / 2
	}
	return median, sorted[outside], sorted[n-1-outside], true
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
