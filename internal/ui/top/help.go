package top

import (
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// helpLines is the help: the keys, the columns, and what cannot be seen.
func (m *Model) helpLines() []Line {
	lines := m.head("")
	part := func(title string, list [][2]string) {
		lines = append(lines, Line{}, text(Strong, title))
		for _, one := range list {
			for i, words := range ui.Wrapped(one[1], "", max(m.width-17, 20)) {
				name := ""
				if i == 0 {
					name = one[0]
				}
				lines = append(lines, text(Plain, "  "+left(name, 15)+words))
			}
		}
	}
	part("keys", [][2]string{
		{"j k up down", "to the next listener, or the one before"},
		{"PgUp PgDn g G", "by a screen; to the first, to the last"},
		{"Enter, Esc", "open the listener; back"},
		{"s S r", "sort by the next column, by the one before; the other way round"},
		{"/", "show only listeners whose address or owner contains a text"},
		{"space p", "stand still, while counting goes on; go on"},
		{"q Ctrl-C", "quit"},
	})
	if m.shown.about.Origin != "" {
		keys := [][2]string{
			{"space p", "pause, and go on"},
			{"+ -", "play it faster, slower"},
		}
		if m.tape.CanSeek {
			keys = append(keys, [][2]string{
				{"left right", "10 s back, 10 s on, on its full tens of seconds"},
				{"[ ]", "a minute back, a minute on"},
				{"0", "to its beginning"},
			}...)
		}
		part("keys of a recording", keys)
	}
	waited := "how long these waited in the queue"
	if m.shown.about.Mode == listener.Restricted {
		waited += "; ? where not all were seen waiting, of which MAX is the longest"
	}
	part("columns", [][2]string{
		{"!", "nobody has accepted from a queue with entries for a while: a stall"},
		{"*", "clients were refused, or accept() failed, within 10 s"},
		{"QUEUE", "connections that wait / backlog; the queue holds one more than that"},
		{"OLDEST", "how long the first of them has waited"},
		{"ACC/S", "accepted connections a second, in the last interval"},
		{"P50 P99 MAX", waited},
		{"DEAD", "entries of the queue whose client has gone: they are still to be accepted"},
		{"OVFL", "connections that were refused since the start because the queue was full"},
		{"ERR", "calls of accept() that failed since the start, as for want of descriptors"},
		{"PAST", "how deep the queue was, an interval a column, the latest at the right"},
	})
	lines = append(lines, Line{}, text(Strong, "mode "+m.shown.about.Mode))
	if len(m.shown.about.Limits) == 0 {
		lines = append(lines, text(Plain, "  everything is exact"))
	}
	for _, limit := range m.shown.about.Limits {
		for _, words := range ui.Wrapped("limit: "+limit, "  ", max(m.width-2, 20)) {
			lines = append(lines, text(Slow, "  "+words))
		}
	}
	return lines
}
