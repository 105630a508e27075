package collect

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// threadStat is what is read of /proc/PID/task/TID/stat (do_task_stat,
// fs/proc/array.c).
type threadStat struct {
	comm        string
	state       string
	parent      int
	majorFaults uint64
	startTime   uint64        // clock ticks since boot
	blockIO     time.Duration // 0 without delay accounting
}

// tick is USER_HZ, which no architecture that is supported has otherwise.
const tick = 10 * time.Millisecond

func parseStat(text string) (s threadStat, ok bool) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, false
	}
	fields := strings.Fields(text[end+1:]) // the first one is field 3
	const state, parent, majorFaults, startTime, blockIO = 0, 1, 12 - 3, 22 - 3, 42 - 3
	if len(fields) <= startTime {
		return s, false
	}
	s = threadStat{comm: text[open+1 : end], state: fields[state], parent: int(number(fields[parent])),
		majorFaults: number(fields[majorFaults]), startTime: number(fields[startTime])}
	if len(fields) > blockIO {
		s.blockIO = time.Duration(number(fields[blockIO])) * tick
	}
	return s, true
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// parseSchedstat reads "run delay slices", the first two in ns.
func parseSchedstat(text string) (run, delay time.Duration, ok bool) {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return 0, 0, false
	}
	return time.Duration(number(fields[0])), time.Duration(number(fields[1])), true
}

// field is the first word after a name and a colon of /proc/PID/status.
func field(text, name string) (string, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				return words[0], true
			}
		}
	}
	return "", false
}

// keyed is the number after a word, of lines as cpu.stat has them.
func keyed(text, name string) (uint64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// pressure is the total of a line of PSI: "full avg10=0.00 ... total=12" (µs).
func pressure(text, kind string) (time.Duration, bool) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, kind+" ") {
			_, total, ok := strings.Cut(line, "total=")
			n, err := strconv.ParseUint(strings.TrimSpace(total), 10, 64)
			return time.Duration(n) * time.Microsecond, ok && err == nil
		}
	}
	return 0, false
}

// descriptorLimit reads "Max open files  1024  4096  files" of /proc/PID/limits.
func descriptorLimit(text string) (uint64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				return 0, false
			}
			n, err := strconv.ParseUint(words[0], 10, 64)
			return n, err == nil // "unlimited" is none
		}
	}
	return 0, false
}

// findWatched finds a file by its inode in an epoll set's fdinfo (ep_show_fdinfo,
// fs/eventpoll.c), and how it is watched: "tfd: 5 events: 80000019 data: 5 pos:0
// ino:2f1c sdev:8", numbers but tfd in hex. It reads no further than to the first,
// as such a set can have 100,000 lines.
func findWatched(r io.Reader, inode uint32) (events uint32, found bool) {
	is := fmt.Appendf(nil, " ino:%x ", inode)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Bytes()
		if !bytes.HasPrefix(line, []byte("tfd:")) || !bytes.Contains(line, is) {
			continue
		}
		_, rest, _ := bytes.Cut(line, []byte("events:"))
		if words := bytes.Fields(rest); len(words) > 0 {
			n, err := strconv.ParseUint(string(words[0]), 16, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

// parseKernelStack takes the names of "[<0>] futex_wait+0x1/0x2".
func parseKernelStack(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		_, name, ok := strings.Cut(strings.TrimSpace(line), "] ")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, "+")
		names = append(names, name)
	}
	return names
}
