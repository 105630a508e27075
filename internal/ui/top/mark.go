package top

import (
	"strconv"
	"strings"
	"time"

	"acceptwatch/internal/ui"
)

// brief is a duration in six columns at most: "1.24ms", "41.2s", "1m40s".
func brief(d time.Duration) string { return strings.ReplaceAll(ui.Duration(d), " ", "") }

// amount is a number in width columns, four or more, if that can be: "9999", "12k",
// "1.2M".
func amount(n uint64, width int) string {
	words := strconv.FormatUint(n, 10)
	for _, unit := range []struct {
		size float64
		name string
	}{{1e3, "k"}, {1e6, "M"}, {1e9, "G"}} {
		if len(words) <= width {
			return words
		}
		value := float64(n) / unit.size
		if words = strconv.FormatFloat(value, 'f', 1, 64) + unit.name; len(words) > width {
			words = strconv.FormatUint(n/uint64(unit.size), 10) + unit.name
		}
	}
	return words
}

// rate is a number a second in five columns; below 10 with a decimal.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 9.95:
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return amount(uint64(perSecond+0.5), 5)
}

// bar fills a part of width columns: what is not nothing shows, and only what is
// full fills it.
func bar(part float64, width int) (filled, empty string) {
	const eighths = "▏▎▍▌▋▊▉"
	n := int(part * float64(width) * 8)
	switch {
	case part <= 0:
		return "", strings.Repeat("·", width)
	case part >= 1:
		return strings.Repeat("█", width), ""
	}
	n = min(max(n, 1), width*8-1)
	filled = strings.Repeat("█", n/8)
	if n%8 > 0 {
		filled += string([]rune(eighths)[n%8-1])
	}
	return filled, strings.Repeat("·", width-(n+7)/8)
}

// spark draws values, one a column, the last at the right, as parts of most.
func spark(values []uint32, most uint32, width int) string {
	const levels = "▁▂▃▄▅▆▇█"
	steps := []rune(levels)
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", max(0, width-len(values))))
	for _, v := range values[max(0, len(values)-width):] {
		if v == 0 || most == 0 {
			b.WriteByte(' ')
			continue
		}
		step := (uint64(v)*uint64(len(steps)) + uint64(most) - 1) / uint64(most)
		b.WriteRune(steps[min(max(int(step), 1), len(steps))-1])
	}
	return b.String()
}
