package ui

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0"},
		{1, "1 ns"},
		{999, "999 ns"},
		{1000, "1.00 µs"},
		{1234, "1.23 µs"},
		{9_994, "9.99 µs"},
		{9_996, "10.0 µs"},
		{99_949, "99.9 µs"},
		{99_960, "100 µs"},
		{812_400, "812 µs"},
		{999_499, "999 µs"},
		{999_500, "1.00 ms"},
		{1_240 * time.Microsecond, "1.24 ms"},
		{41_200 * time.Millisecond, "41.2 s"},
		{99_949 * time.Millisecond, "99.9 s"},
		{99_950 * time.Millisecond, "1m40s"},
		{125 * time.Second, "2m05s"},
		{time.Hour - time.Millisecond, "1h00m"},
		{time.Hour + 5*time.Minute, "1h05m"},
		{24*time.Hour - time.Second, "1d00h"},
		{76 * time.Hour, "3d04h"},
		{-3 * time.Millisecond, "-3.00 ms"},
	} {
		if got := Duration(test.d); got != test.want {
			t.Errorf("Duration(%d) = %q, want %q", test.d, got, test.want)
		}
	}
}
