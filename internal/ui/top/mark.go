package top

import (
	"strconv"
	"strings"
	"time"

	"acceptwatch/internal/ui"
)

// brief is a duration in six columns at most: "1.24ms", "41.2s", "1m40s".
func brief(d time.Duration) string { return strings.ReplaceAll(ui.Duration(d), " ", "") }

// amount is a number in five columns at most: "99999", "123k", "12.3M".
func amount(n uint64) string {
	switch {
	case n < 100_000:
		return strconv.FormatUint(n, 10)
	case n < 1_000_000:
		return strconv.FormatUint(n/1000, 10) + "k"
	case n < 100_000_000:
		return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + "M"
	}
	return strconv.FormatUint(n/1_000_000, 10) + "M"
}

// rate is a number a second in five columns at most; below 10 with a decimal.
func rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 9.95:
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return amount(uint64(perSecond + 0.5))
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
