package owner

import (
	"bytes"
	"errors"
)

var errBadStat = errors.New("parse stat: unexpected format")

// stat is what is read of /proc/PID/stat.
type stat struct {
	comm      string
	startTime uint64 // clock ticks since boot
}

// parseStat reads "PID (comm) state ppid ...". The comm may hold blanks and
// parentheses, so it ends at the last one (do_task_stat, fs/proc/array.c). The
// start time is field 22, counted from 1.
func parseStat(b []byte) (stat, error) {
	open := bytes.IndexByte(b, '(')
	end := bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, errBadStat
	}
	fields := bytes.Fields(b[end+1:])
	const startTime = 22 - 3 // the first one after the comm is field 3
	if len(fields) <= startTime {
		return stat{}, errBadStat
	}
	start, ok := parseNumber64(fields[startTime])
	if !ok {
		return stat{}, errBadStat
	}
	return stat{comm: string(b[open+1 : end]), startTime: start}, nil
}
