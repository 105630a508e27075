package probe

import (
	"testing"
	"time"
)

func TestFrugalSamplingTakesOneInAHundred(t *testing.T) {
	for _, test := range []struct{ took, want time.Duration }{
		{0, sampleEvery},
		{time.Millisecond, sampleEvery},
		{10 * time.Millisecond, time.Second},
		{time.Minute, rarest},
	} {
		if got := frugally(test.took); got != test.want {
			t.Errorf("one sample takes %s: every %s, want %s", test.took, got, test.want)
		}
	}
}
