// Package trigger is the language of conditions by which the flight recorder
// decides that something is worth keeping, and a look at the queues that it is
// bad news, such as
//
//	close_wait>=1/s | wait>1s & depth>90% | stall
//
// A trigger is alternatives joined by "|", each of them conditions joined by
// "&", which binds closer. A condition is a measure by itself, or a measure, a
// comparison (>, >=, <, <=) and a value. Of what happens (Parse):
//
//	close_wait, reset, purged, overflow, accept_error, accepted
//	         connections, or failed calls, in the last second; the value is a
//	         rate, with or without "/s". By itself: at least one
//	wait     how long connections wait; the value is a time: 1s, 200ms
//	depth    entries in the queue; the value is a number, or a percentage of
//	         the places that there are
//	stall    by itself only: nobody accepts
//
// Of what one look finds (ParseLook), which knows no rates:
//
//	close_wait, reset
//	         connections in the queue in CLOSE_WAIT, and in CLOSE
//	held_close_wait
//	         connections in CLOSE_WAIT that a process has accepted and not closed
//	overflow SYNs and last ACKs that were dropped since the listener was made
//	wait     how long the oldest entry has been queued
//	depth    as above
//
// It is pure: it reads no clock, and knows listeners as Values only.
package trigger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values are what is known of one listener at one moment.
type Values struct {
	// Connections, or failed calls: what happened in the last second, or of a
	// look what there is.
	CloseWait, Reset, Purged, Overflow, AcceptError, Accepted float64
	HeldCloseWait                                             float64 // of a look only

	Wait    time.Duration // the longest of those that were accepted in the last second, or are queued
	Depth   uint32        // entries in the queue
	Places  uint32        // how many the queue holds: its backlog and one more; 0: not known
	Stalled bool
}

// Trigger is a parsed trigger. Its zero value never fires.
type Trigger struct {
	any [][]condition
}

type condition struct {
	text    string // as it was written, without spaces
	measure string
	compare string // empty: by itself
	value   float64
	percent bool
}

// counts are the measures that count something.
func counts() map[string]func(*Values) float64 {
	return map[string]func(*Values) float64{
		"close_wait":      func(v *Values) float64 { return v.CloseWait },
		"reset":           func(v *Values) float64 { return v.Reset },
		"purged":          func(v *Values) float64 { return v.Purged },
		"overflow":        func(v *Values) float64 { return v.Overflow },
		"accept_error":    func(v *Values) float64 { return v.AcceptError },
		"accepted":        func(v *Values) float64 { return v.Accepted },
		"held_close_wait": func(v *Values) float64 { return v.HeldCloseWait },
	}
}

// language is what conditions can be about.
type language struct {
	measures []string
	unit     string // that may follow a count
}

// Parse reads a trigger of what happens. Its errors name the part that cannot
// be understood, and what would be.
func Parse(text string) (*Trigger, error) {
	l := language{[]string{"close_wait", "reset", "purged", "overflow", "accept_error", "accepted", "wait", "depth", "stall"}, "/s"}
	return l.parse(text)
}

// ParseLook reads a trigger of what one look finds. Its errors are as those of
// Parse.
func ParseLook(text string) (*Trigger, error) {
	l := language{[]string{"close_wait", "reset", "held_close_wait", "overflow", "wait", "depth"}, ""}
	return l.parse(text)
}

func (l *language) String() string {
	last := len(l.measures) - 1
	return strings.Join(l.measures[:last], ", ") + " or " + l.measures[last]
}

func (l *language) parse(text string) (*Trigger, error) {
	t := &Trigger{}
	for _, alternative := range strings.Split(text, "|") {
		var all []condition
		for _, part := range strings.Split(alternative, "&") {
			c, err := l.condition(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
		t.any = append(t.any, all)
	}
	return t, nil
}

func (l *language) condition(text string) (condition, error) {
	if text == "" {
		return condition{}, fmt.Errorf("a condition is missing: give one such as %s", l.example("close_wait"))
	}
	at := strings.IndexAny(text, "<>=!")
	if at < 0 {
		at = len(text)
	}
	c := condition{measure: strings.TrimSpace(text[:at])}
	rest := text[at:]
	for _, compare := range []string{">=", "<=", ">", "<"} {
		if after, ok := strings.CutPrefix(rest, compare); ok {
			c.compare, rest = compare, strings.TrimSpace(after)
			break
		}
	}
	switch {
	case !slices.Contains(l.measures, c.measure):
		return c, fmt.Errorf("%q is nothing that can be measured: choose from %s", c.measure, l)
	case c.compare == "" && rest != "":
		return c, fmt.Errorf("%q has no comparison: write >, >=, < or <= after %s", text, c.measure)
	case c.compare == "" && (c.measure == "wait" || c.measure == "depth"):
		return c, fmt.Errorf("%s alone is always so: compare it, such as %s", c.measure, l.example(c.measure))
	case c.compare != "" && c.measure == "stall":
		return c, fmt.Errorf("stall is so or not, and is not compared: write stall")
	}
	c.text = strings.Join(strings.Fields(text), "")
	if c.compare == "" {
		return c, nil
	}
	return c, l.value(&c, rest)
}

func (l *language) value(c *condition, text string) error {
	var ok bool
	switch c.measure {
	case "wait":
		d, err := time.ParseDuration(text)
		c.value, ok = float64(d), err == nil && d >= 0
	case "depth":
		text, c.percent = strings.CutSuffix(text, "%")
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		c.value, ok = n, err == nil && n >= 0 && n <= 1<<32
	default:
		n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, l.unit)), 64)
		c.value, ok = n, err == nil && n >= 0 && n <= 1e12
	}
	if !ok {
		return fmt.Errorf("%q cannot be compared with %s: write it such as %s", text, c.measure, l.example(c.measure))
	}
	return nil
}

func (l *language) example(measure string) string {
	switch measure {
	case "wait":
		return "wait>1s"
	case "depth":
		return "depth>90% or depth>100"
	}
	return measure + ">=10" + l.unit
}

// Fires says whether the trigger fires at a listener, and by which conditions,
// as they were written.
func (t *Trigger) Fires(v *Values) (why string, fires bool) {
	for _, all := range t.any {
		met := len(all) > 0
		var texts []string
		for i := range all {
			met = met && all[i].met(v)
			texts = append(texts, all[i].text)
		}
		if met {
			return strings.Join(texts, "&"), true
		}
	}
	return "", false
}

// Asks says whether a condition is about a measure, such as "wait".
func (t *Trigger) Asks(measure string) bool {
	for _, all := range t.any {
		if slices.ContainsFunc(all, func(c condition) bool { return c.measure == measure }) {
			return true
		}
	}
	return false
}

func (c *condition) met(v *Values) bool {
	var now float64
	limit := c.value
	switch c.measure {
	case "stall":
		return v.Stalled
	case "wait":
		now = float64(v.Wait)
	case "depth":
		now = float64(v.Depth)
		if c.percent {
			if v.Places == 0 {
				return false
			}
			now = 100 * now / float64(v.Places)
		}
	default:
		now = counts()[c.measure](v)
		if c.compare == "" {
			return now > 0
		}
	}
	switch c.compare {
	case ">":
		return now > limit
	case ">=":
		return now >= limit
	case "<":
		return now < limit
	}
	return now <= limit
}
