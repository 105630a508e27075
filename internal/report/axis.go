package report

import "time"

// maxColumns is into how many columns the time of a report is cut at most.
const maxColumns = 200

// narrowest is how wide columns are at first: so that, doubled again and again,
// they become 1/8, 1/4, 1/2, 1, 2, 4 s wide.
const narrowest = time.Second / 512

// axis cuts time into columns of equal width. It is wide enough for all times
// that came: when it is not, two columns become one.
type axis struct {
	from  int64 // ns: where column 0 begins
	width int64 // ns
	// The column that was asked for last, and when it begins: most times are in it.
	last      int
	lastBegin int64
}

func newAxis(from int64) axis {
	return axis{from: from, width: int64(narrowest), lastBegin: from}
}

// at is the column of a time. Those before the first are in it.
func (a *axis) at(ns int64) int {
	if since := ns - a.lastBegin; since < 0 || since >= a.width {
		a.last = int(max(0, ns-a.from) / a.width)
		a.lastBegin = a.from + int64(a.last)*a.width
	}
	return a.last
}

// widen makes the columns wider, until a time is in one of maxColumns. It
// returns how many columns become one: 1 if they stay.
func (a *axis) widen(ns int64) int {
	factor := 1
	for a.at(ns) >= maxColumns {
		a.width *= 2
		factor *= 2
		a.last, a.lastBegin = 0, a.from
	}
	return factor
}
