package collect

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"acceptwatch/internal/diagnose"
)

// cgroupFS reads the control groups of the host, of version 2 or of version 1.
type cgroupFS string

// hierarchy is the directory of a process's group for a controller; empty: none.
func (c cgroupFS) hierarchy(membership, controller string) (dir string, v2 bool) {
	unified := ""
	for line := range strings.Lines(membership) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if parts[1] == "" {
			unified = parts[2]
		}
		for _, name := range strings.Split(parts[1], ",") {
			if name == controller {
				return c.existing(filepath.Join(string(c), controller), parts[2]), false
			}
		}
	}
	if _, err := os.Stat(filepath.Join(string(c), "cgroup.controllers")); err == nil {
		return c.existing(string(c), unified), true
	}
	return "", false
}

// existing is a group's directory: from within a container, the path may lead
// out of what is mounted.
func (c cgroupFS) existing(mount, path string) string {
	dir := filepath.Join(mount, filepath.Clean("/"+path))
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

func fileText(dir, name string) (string, bool) {
	if dir == "" {
		return "", false
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	return string(b), err == nil
}

func knownKey(text, name string) diagnose.Maybe[uint64] {
	if n, ok := keyed(text, name); ok {
		return diagnose.Known(n)
	}
	return diagnose.Maybe[uint64]{}
}

func knownNumber(dir, name string) diagnose.Maybe[uint64] {
	text, ok := fileText(dir, name)
	text = strings.TrimSpace(text)
	if !ok || text == "max" || text == "" {
		return diagnose.Maybe[uint64]{}
	}
	return diagnose.Known(number(text))
}

// group reads what a process's control groups did so far.
func (c cgroupFS) group(path, membership string) diagnose.Cgroup {
	g := diagnose.Cgroup{Path: path}
	c.cpu(&g, membership)
	c.memory(&g, membership)
	if dir, v2 := c.hierarchy(membership, "freezer"); v2 {
		if text, ok := fileText(dir, "cgroup.events"); ok { // that of a parent counts too
			n, ok := keyed(text, "frozen")
			if ok {
				g.Frozen = diagnose.Known(n == 1)
			}
		}
	} else if text, ok := fileText(dir, "freezer.state"); ok {
		g.Frozen = diagnose.Known(strings.TrimSpace(text) == "FROZEN")
	}
	return g
}

// cpu reads the quota. The tightest one of the parents is not looked for: they
// are throttled by themselves, which their own cpu.stat says.
func (c cgroupFS) cpu(g *diagnose.Cgroup, membership string) {
	dir, v2 := c.hierarchy(membership, "cpu")
	for ; dir != "" && len(dir) > len(string(c)); dir = filepath.Dir(dir) {
		var quota, period uint64
		if v2 {
			text, ok := fileText(dir, "cpu.max")
			words := strings.Fields(text)
			if !ok || len(words) < 2 || words[0] == "max" {
				continue
			}
			quota, period = number(words[0]), number(words[1])
		} else {
			text, ok := fileText(dir, "cpu.cfs_quota_us")
			if !ok || strings.HasPrefix(text, "-") {
				continue
			}
			quota = number(strings.TrimSpace(text))
			period = knownNumber(dir, "cpu.cfs_period_us").Or(0)
		}
		if period == 0 {
			continue
		}
		g.Quota = diagnose.Known(float64(quota) / float64(period))
		stat, _ := fileText(dir, "cpu.stat")
		g.Periods, g.Throttled = knownKey(stat, "nr_periods"), knownKey(stat, "nr_throttled")
		if n, ok := keyed(stat, "throttled_usec"); ok {
			g.ThrottledNS = diagnose.Known(time.Duration(n) * time.Microsecond)
		} else if n, ok := keyed(stat, "throttled_time"); ok {
			g.ThrottledNS = diagnose.Known(time.Duration(n))
		}
		return
	}
}

func (c cgroupFS) memory(g *diagnose.Cgroup, membership string) {
	dir, v2 := c.hierarchy(membership, "memory")
	if !v2 {
		g.Memory = knownNumber(dir, "memory.usage_in_bytes")
		g.MemoryMax = knownNumber(dir, "memory.limit_in_bytes")
		g.MaxEvents = knownNumber(dir, "memory.failcnt")
		return
	}
	g.Memory = knownNumber(dir, "memory.current")
	g.MemoryHigh = knownNumber(dir, "memory.high")
	g.MemoryMax = knownNumber(dir, "memory.max")
	events, _ := fileText(dir, "memory.events")
	g.HighEvents, g.MaxEvents = knownKey(events, "high"), knownKey(events, "max")
	if text, ok := fileText(dir, "memory.pressure"); ok {
		if total, ok := pressure(text, "full"); ok {
			g.MemoryStall = diagnose.Known(total)
		}
	}
}

// cgroupSince turns counts so far into those of the span.
func cgroupSince(now, before diagnose.Cgroup) diagnose.Cgroup {
	now.Periods = grown(now.Periods, before.Periods)
	now.Throttled = grown(now.Throttled, before.Throttled)
	now.ThrottledNS = grown(now.ThrottledNS, before.ThrottledNS)
	now.HighEvents = grown(now.HighEvents, before.HighEvents)
	now.MaxEvents = grown(now.MaxEvents, before.MaxEvents)
	now.MemoryStall = grown(now.MemoryStall, before.MemoryStall)
	return now
}

// grown is how much a count grew; not known, if one of them is not.
func grown[T ~uint64 | ~int64](now, before diagnose.Maybe[T]) diagnose.Maybe[T] {
	n, known := now.Get()
	b, knownBefore := before.Get()
	if !known || !knownBefore || n < b {
		return diagnose.Maybe[T]{}
	}
	return diagnose.Known(n - b)
}
