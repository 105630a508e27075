package ui

import (
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/snapshot"
)

// evident is how long the oldest entry has waited before what that proves of
// accept() is worth a word.
const evident = time.Second

// meaning says in words what the numbers mean; empty: nothing waits.
func (p *Printer) meaning(q *Queue, at time.Time) string {
	look, u := q.Look, &q.Unaccepted
	if q.Depth == 0 {
		return ""
	}
	var parts []string
	queued := q.Depth - min(q.Depth, look.Elsewhere)
	dead, closeWait := min(u.Dead(), queued), min(u.CloseWait, queued) // what was just accepted is listed too
	client := func(n uint32) string { return Plural(n, "queued client") }
	switch {
	case queued == 0:
		parts = append(parts, "no queued client came to such an address")
	case u.Dead() == 0 && u.NotLooked > 0:
		parts = append(parts, client(queued)+", "+Count(u.NotLooked)+" of them in a state that is not known")
	case u.Dead() == 0:
		verb := " wait"
		if queued == 1 {
			verb = " waits"
		}
		parts = append(parts, client(queued)+verb)
	case u.Close == 0:
		parts = append(parts, Count(closeWait)+" of "+client(queued)+has(closeWait)+" already hung up")
	case u.CloseWait == 0:
		parts = append(parts, Count(u.Close)+" of "+client(queued)+has(u.Close)+" already reset the connection")
	default:
		parts = append(parts, fmt.Sprintf("%s of %s have already gone (%s hung up, %s reset)",
			Count(dead), client(queued), Count(closeWait), Count(u.Close)))
	}
	age, known := q.Oldest()
	if known {
		parts = append(parts, "the oldest has waited "+Duration(age))
	}
	if accepts := &look.Accepts; age >= evident || accepts.NoneSince != 0 && q.Time-accepts.NoneSince >= int64(evident) {
		switch {
		case accepts.NoneSince != 0:
			parts = append(parts, "nothing has been accepted since "+moment(p.wall(accepts.NoneSince), at))
		case accepts.Known:
			parts = append(parts, "at most "+Plural(accepts.AtMost, "connection")+has(accepts.AtMost)+
				" been accepted since "+moment(p.wall(accepts.Since), at))
		}
	}
	switch _, several := look.Fullest(); {
	case look.Full() && several:
		parts = append(parts, "one of the queues is full, and refuses new clients")
	case look.Full():
		parts = append(parts, "the queue is full, and refuses new clients")
	}
	return strings.Join(parts, "; ")
}

func has(n uint32) string {
	if n == 1 {
		return " has"
	}
	return " have"
}

// moment is a time of day, with its date if that is not the day of now.
func moment(t, now time.Time) string {
	if y, d := t.Year(), t.YearDay(); y != now.Year() || d != now.YearDay() {
		return t.Format("2006-01-02 15:04:05")
	}
	return t.Format("15:04:05")
}

// ageWords is how many entries have waited for how long: "<100ms 3 · <1s 40".
func ageWords(look *snapshot.Queue) string {
	bounds := listener.AgeBounds()
	var list []string
	add := func(n uint32, name string) {
		if n > 0 {
			list = append(list, name+noBreak+Count(n))
		}
	}
	for i, n := range look.Unaccepted.Ages {
		if i < len(bounds) {
			add(n, "<"+short(bounds[i]))
		} else {
			add(n, ">="+short(bounds[i-1]))
		}
	}
	if len(list) > 0 {
		add(look.AgeUnknown, "not"+noBreak+"known")
	}
	return strings.Join(list, " · ")
}

// short is a bound between ages: "10ms", "1s", "1m".
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		return strings.TrimSuffix(text, "0s")
	}
	return text
}

// hiddenWords are why the state of entries is not known.
func hiddenWords(h snapshot.Hidden) string {
	switch h {
	case snapshot.Moving:
		return "reset, or came and went meanwhile"
	case snapshot.Multipath:
		return "of MPTCP clients, or reset: sock_diag does not tell which"
	case snapshot.Steered:
		return "reset, or steered here from another address or port: connections are listed that are of no queue there"
	case snapshot.Unlisted:
		return "the sockets of their network namespace could not be listed"
	case snapshot.Unaddressed:
		return "reset, and to which address they came is not known"
	default:
		return "of a state and an age that are not known"
	}
}
