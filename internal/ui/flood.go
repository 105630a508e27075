package ui

import (
	"net/netip"
	"time"

	"acceptwatch/internal/event"
)

// refusalsASecond is how many lines a second a terminal gets of connections
// that one listener refuses, and as many of accept() that fails there.
const refusalsASecond = 5

// flood is what comes in floods when something is wrong, by listener.
type flood struct {
	kind     event.Kind
	listener netip.AddrPort
	netns    uint32
}

// floods lets so many lines a second of each flood through and counts the rest.
type floods struct {
	perSecond int // 0: no limit
	window    time.Time
	of        map[flood]*folded
	order     []flood // of the first line in this second
}

type folded struct {
	shown int
	held  uint64 // connections, or calls
}

// maxFloods bounds the listeners that are told apart in one second.
const maxFloods = 256

// allow says whether to show one more line now. If not, it is counted.
func (f *floods) allow(l *Line) bool {
	if f.perSecond == 0 {
		return true
	}
	key := flood{l.Kind, l.listener(), l.NetNS}
	in := f.of[key]
	if in == nil && len(f.order) >= maxFloods {
		key = flood{kind: l.Kind}
		in = f.of[key]
	}
	if in == nil {
		if f.of == nil {
			f.of = make(map[flood]*folded)
		}
		in = &folded{}
		f.of[key] = in
		f.order = append(f.order, key)
	}
	if in.shown < f.perSecond {
		in.shown++
		return true
	}
	in.held += max(1, uint64(l.Repeats))
	return false
}

// turn begins a new second when the last one is over, and returns a line for
// each flood of which lines were not shown in it.
func (f *floods) turn(now time.Time) []string {
	if age := now.Sub(f.window); age >= 0 && age < time.Second {
		return nil
	}
	f.window = now
	return f.drain()
}

func (f *floods) drain() []string {
	var lines []string
	for _, key := range f.order {
		held := f.of[key].held
		if held == 0 {
			continue
		}
		where := " at other listeners"
		if key.listener.IsValid() {
			where = " at " + string(appendAddr(nil, key.listener))
		}
		if key.kind == event.AcceptError {
			lines = append(lines, "... accept() failed "+Plural(held, "more time")+where)
		} else {
			lines = append(lines, "... "+Count(held)+" more "+key.kind.String()+where)
		}
	}
	clear(f.of)
	f.order = f.order[:0]
	return lines
}
