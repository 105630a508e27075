package ui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// Listener is a row with what is not in events: who has it.
type Listener struct {
	listener.Row
	Owners []owner.Process // of the listening sockets
	// Held are the connections that were accepted, are in CLOSE_WAIT and still
	// open, by the process that has them. HeldKnown says that somebody looked.
	Held      []Held
	HeldKnown bool
}

// HeldSockets is how many connections the Held are.
func (l *Listener) HeldSockets() int {
	n := 0
	for i := range l.Held {
		n += l.Held[i].Sockets
	}
	return n
}

// Held are sockets in CLOSE_WAIT that a process has open.
type Held struct {
	Owner   owner.Process // FDs are those of the sockets; PID 0: not known whose
	Sockets int
	Silent  time.Duration // since anything came from the client that was heard longest ago; 0: not known
}

// Name is the address of the listener, and its network namespace if it is not
// that of this process.
func (l *Listener) Name(own uint32) string {
	if l.Other {
		return "closed listeners at other addresses"
	}
	name := string(appendAddr(nil, l.Key.Addr))
	if l.Key.Addr.Addr().Is6() && l.V6Only {
		name += " (v6only)"
	}
	if l.Key.NetNS != own && own != 0 && l.Key.NetNS != 0 {
		name += fmt.Sprintf(" net:[%d]", l.Key.NetNS)
	}
	if l.Open > 1 {
		name += fmt.Sprintf(" (%d listeners share it)", l.Open)
	}
	if l.Open == 0 && l.Closed > 0 {
		name += " (closed)"
	}
	return name
}

// owners lists processes as "python3[123], python3[124] and 6 more".
func owners(all []owner.Process) string {
	const most = 4
	list := make([]string, 0, most)
	for i, p := range all {
		if i == most {
			return strings.Join(list, ", ") + " and " + Count(len(all)-most) + " more"
		}
		list = append(list, fmt.Sprintf("%s[%d]", Clean(p.Comm), p.PID)+at(&p.Identity.Place))
	}
	return strings.Join(list, ", ")
}

// at says where a process runs: " in docker 0123456789ab", " of nginx.service".
func at(p *owner.Place) string {
	switch {
	case p.Container != "":
		runtime := p.Runtime
		if runtime == "" {
			runtime = "container"
		}
		return " in " + runtime + " " + Clean(p.Container[:min(len(p.Container), 12)])
	case p.Unit != "":
		return " of " + Clean(p.Unit)
	}
	return ""
}

// states is what a queue holds: "9 ESTABLISHED, 3 CLOSE_WAIT"; empty: nothing
// that is known.
func states(u *listener.Unaccepted) string {
	var list []string
	add := func(n uint32, name string) {
		if n > 0 {
			list = append(list, Count(n)+" "+name)
		}
	}
	if u.Known {
		add(u.Established, "ESTABLISHED")
	}
	add(u.CloseWait, "CLOSE_WAIT")
	add(u.Close, "CLOSE")
	if u.Known {
		add(u.SynRecv, "SYN_RECV")
		add(u.NotLooked, "not looked at")
	}
	return strings.Join(list, ", ")
}

// queue is how full a queue is, of what, and since when: "12 of 128+1 places
// taken: 9 ESTABLISHED, 3 CLOSE_WAIT; the oldest for 41.2 s". Without taken it
// begins at "128+1 places".
func (l *Listener) queue(taken bool) string {
	text := places(l.Backlog, max(l.Open, 1))
	if taken {
		text = Count(l.Depth) + " of " + text + " taken"
	}
	if l.Depth == 0 {
		return text
	}
	if in := states(&l.Unaccepted); in != "" {
		text += ": " + in
	}
	if age, known := l.Oldest(); known {
		text += "; the oldest for " + Duration(age)
	}
	return text
}

// fdRanges writes descriptors as "7-11, 13"; many are cut.
func fdRanges(fds []int) string {
	const most = 6
	fds = slices.Sorted(slices.Values(fds))
	var list []string
	for i := 0; i < len(fds); {
		last := i
		for last+1 < len(fds) && fds[last+1] <= fds[last]+1 {
			last++
		}
		if len(list) == most {
			return strings.Join(list, ", ") + ", ..."
		}
		text := strconv.Itoa(fds[i])
		if last > i {
			text += "-" + strconv.Itoa(fds[last])
		}
		list = append(list, text)
		i = last + 1
	}
	return strings.Join(list, ", ")
}
