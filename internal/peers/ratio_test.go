package peers

import "testing"

func TestMedianOfPairs(t *testing.T) {
	for _, c := range []struct {
		name              string
		ratios            []float64
		median, low, high float64
		ok                bool
	}{
		{"five are too few: all five are on one side once in 16", []float64{1, 2, 3, 4, 5}, 0, 0, 0, false},
		{"six: the whole range, 96.9 %", []float64{3, 1, 2, 6, 5, 4}, 3.5, 1, 6, true},
		{"eight: the whole range, 99.2 %; without the ends it would be 93 %", []float64{8, 7, 6, 5, 4, 3, 2, 1}, 4.5, 1, 8, true},
		{"nine: without the ends, 96.1 %", []float64{9, 8, 7, 6, 5, 4, 3, 2, 1}, 5, 2, 8, true},
		{"twelve: without two at each end, 96.1 %", []float64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 6.5, 3, 10, true},
		{"none", nil, 0, 0, 0, false},
	} {
		median, low, high, ok := MedianOfPairs(c.ratios)
		if median != c.median || low != c.low || high != c.high || ok != c.ok {
			t.Errorf("%s: %v in %v-%v, %t; want %v in %v-%v, %t", c.name, median, low, high, ok, c.median, c.low, c.high, c.ok)
		}
	}
}
