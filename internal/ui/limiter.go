package ui

import "time"

// limiter lets so many lines a second through and counts the rest.
type limiter struct {
	perSecond int // 0: no limit
	window    time.Time
	shown     int
	held      uint64
}

// allow says whether to show one more line now. If not, it is counted.
func (l *limiter) allow() bool {
	if l.perSecond == 0 || l.shown < l.perSecond {
		l.shown++
		return true
	}
	l.held++
	return false
}

// turn begins a new second when the last one is over, and returns how many
// lines were not shown in it.
func (l *limiter) turn(now time.Time) (held uint64) {
	if age := now.Sub(l.window); age >= 0 && age < time.Second {
		return 0
	}
	held = l.held
	l.window, l.shown, l.held = now, 0, 0
	return held
}
