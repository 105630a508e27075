package cli

import (
	"strings"
	"time"

	"acceptwatch/internal/recording"
)

// moment is a time in a recording, as a user gives it: by the wall clock, or by
// how long after its beginning it is.
type moment struct {
	given    bool
	offset   time.Duration // from the beginning, unless absolute
	absolute bool
	wall     time.Time
	clock    bool // wall is a time of day only, on the day of the recording or the next
}

// parseMoment reads "90s", "+1h30m", "14:02:10", "2024-05-17 14:02" or a time in
// RFC 3339. Times without a zone are local ones.
func parseMoment(flag, text string, zone *time.Location) (moment, error) {
	if text == "" {
		return moment{}, nil
	}
	if d, err := time.ParseDuration(strings.TrimPrefix(text, "+")); err == nil && d >= 0 {
		return moment{given: true, offset: d}, nil
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return moment{given: true, absolute: true, wall: t, clock: true}, nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return moment{given: true, absolute: true, wall: t}, nil
		}
	}
	return moment{}, usageErrorf("bad --%s: %q is no time, give one such as 14:02:10, 2024-05-17T14:02:10Z, or 90s from the beginning", flag, text)
}

// at is the moment by the clock of the recording's events, in ns: that of its
// beginning is given.
func (m moment) at(beginning int64, h *recording.Header) int64 {
	if !m.absolute {
		return beginning + int64(m.offset)
	}
	wall := m.wall
	if m.clock {
		began := h.Clock.At(beginning).In(m.wall.Location())
		wall = time.Date(began.Year(), began.Month(), began.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), wall.Location())
		if wall.Before(began.Truncate(time.Second)) {
			wall = wall.AddDate(0, 0, 1)
		}
	}
	return h.Clock.Monotonic + wall.UnixNano() - h.Clock.Wall
}
