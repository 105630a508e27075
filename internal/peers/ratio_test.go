package peers

import "testing"

func TestRatioOf(t *testing.T) {
	for _, c := range []struct {
		name  string
		pairs []float64
		want  Ratio
		ok    bool
	}{
		{"five are too few: all five are on one side once in 16", []float64{1, 2, 3, 4, 5}, Ratio{}, false},
		{"six: the whole range, 96.9 %", []float64{3, 1, 2, 6, 5, 4}, Ratio{3.5, 1, 6}, true},
		{"eight: the whole range, 99.2 %; without the ends it would be 93 %", []float64{8, 7, 6, 5, 4, 3, 2, 1}, Ratio{4.5, 1, 8}, true},
		{"nine: without the ends, 96.1 %", []float64{9, 8, 7, 6, 5, 4, 3, 2, 1}, Ratio{5, 2, 8}, true},
		{"twelve: without two at each end, 96.1 %", []float64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, Ratio{6.5, 3, 10}, true},
		{"none", nil, Ratio{}, false},
	} {
		if got, ok := RatioOf(c.pairs); got != c.want || ok != c.ok {
			t.Errorf("%s: %v, %t; want %v, %t", c.name, got, ok, c.want, c.ok)
		}
	}
}
