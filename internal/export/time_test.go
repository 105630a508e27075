package export

import (
	"testing"
	"time"
)

func TestTimeIsWrittenInItsFormat(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(1_700_000_000, 0), time.Unix(1_700_000_000, 1), time.Unix(1_700_000_000, 999_999_999),
		time.Unix(0, 120_000_000), time.Date(2024, 5, 17, 1, 2, 3, 40_050, time.FixedZone("", -3600)),
	} {
		if got, want := string(appendTime([]byte("x"), at)), "x"+at.UTC().Format(timeFormat); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
