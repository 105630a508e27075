package ui

import (
	"strconv"
	"time"

	"acceptwatch/internal/quantity"
)

// Duration writes d with three significant digits and a unit: "812 µs",
// "1.24 ms", "41.2 s"; from 100 s on as "1m40s", "2h05m", "3d04h".
func Duration(d time.Duration) string {
	return string(AppendDuration(nil, d))
}

// AppendDuration appends what Duration returns.
func AppendDuration(b []byte, d time.Duration) []byte {
	if d < 0 {
		return AppendDuration(append(b, '-'), -d)
	}
	if d == 0 {
		return append(b, '0')
	}
	if d >= 99950*time.Millisecond {
		return appendLong(b, d)
	}
	units := [...]struct {
		size time.Duration
		name string
	}{{time.Nanosecond, " ns"}, {time.Microsecond, " µs"}, {time.Millisecond, " ms"}, {time.Second, " s"}}
	for _, unit := range units {
		// In thousandths of the unit, which nanoseconds have none of.
		milli := int64(d) * 1000 / int64(unit.size)
		if milli >= 999_500 {
			continue
		}
		decimals := 0
		switch {
		case unit.size == time.Nanosecond:
		case milli < 9_995:
			decimals = 2
		case milli < 99_950:
			decimals = 1
		}
		b = strconv.AppendFloat(b, float64(d)/float64(unit.size), 'f', decimals, 64)
		return append(b, unit.name...)
	}
	return b
}

// appendLong writes the two largest units of 100 s or more.
func appendLong(b []byte, d time.Duration) []byte {
	const day = 24 * time.Hour
	switch {
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return appendPair(b, int64(d/time.Minute), 'm', int64(d%time.Minute/time.Second), 's')
	case d < day-30*time.Second:
		d = d.Round(time.Minute)
		return appendPair(b, int64(d/time.Hour), 'h', int64(d%time.Hour/time.Minute), 'm')
	default:
		d = d.Round(time.Hour)
		return appendPair(b, int64(d/day), 'd', int64(d%day/time.Hour), 'h')
	}
}

func appendPair(b []byte, first int64, firstUnit byte, second int64, secondUnit byte) []byte {
	b = append(strconv.AppendInt(b, first, 10), firstUnit)
	if second < 10 {
		b = append(b, '0')
	}
	return append(strconv.AppendInt(b, second, 10), secondUnit)
}

// Count writes n with separators: "12,431".
func Count[N quantity.Integer](n N) string { return quantity.Count(n) }

// Plural writes a count and its noun: "1 event", "12,431 events".
func Plural[N quantity.Integer](n N, noun string) string { return quantity.Plural(n, noun) }
