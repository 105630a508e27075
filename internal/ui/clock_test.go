package ui

import (
	"testing"
	"time"
)

func TestTimeOfDayIsWhatFormatWrites(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	for _, at := range []time.Time{
		time.Date(2024, 5, 17, 0, 0, 0, 0, zone),
		time.Date(2024, 5, 17, 23, 59, 59, 999_999_999, zone),
		time.Date(2024, 5, 17, 9, 5, 7, 1_050_999, zone),
		time.Date(1969, 12, 31, 9, 5, 7, 70_000_000, zone),
	} {
		for digits, format := range map[int]string{0: "15:04:05", 3: "15:04:05.000", 6: "15:04:05.000000"} {
			r := renderer{layout: layout{digits: digits}, wall: func(int64) time.Time { return at }}
			if got, want := string(r.appendClock(nil, 0)), at.Format(format); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
}

func TestRightAlignedTextIsCountedInCharacters(t *testing.T) {
	for text, want := range map[string]string{"": "      ", "12 µs": " 12 µs", "123456": "123456", "1234567": "1234567"} {
		if got := string(appendRight(nil, text, 6)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := string(appendRight(nil, []byte(text), 6)); got != want {
			t.Errorf("%q of bytes, want %q", got, want)
		}
	}
}
