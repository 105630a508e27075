// Package trigger is the language of conditions by which the flight recorder
// decides that something is worth keeping, such as
//
//	close_wait>=1/s | wait>1s & depth>90% | stall
//
// A trigger is alternatives joined by "|", each of them conditions joined by
// "&", which binds closer. A condition is a measure by itself, or a measure, a
// comparison (>, >=, <, <=) and a value:
//
//	close_wait, reset, purged, overflow, accept_error, accepted
//	         connections, or failed calls, in the last second; the value is a
//	         rate, with or without "/s". By itself: at least one
//	wait     how long connections wait; the value is a time: 1s, 200ms
//	depth    entries in the queue; the value is a number, or a percentage of
//	         the places that there are
//	stall    by itself only: nobody accepts
//
// It is pure: it reads no clock, and knows listeners as Values only.
package trigger

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Values are what is known of one listener at one moment.
type Values struct {
	// What happened in the last second: connections, or failed calls.
	CloseWait, Reset, Purged, Overflow, AcceptError, Accepted float64

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

// rates are the measures that count something in a second.
func rates() map[string]func(*Values) float64 {
	return map[string]func(*Values) float64{
		"close_wait":   func(v *Values) float64 { return v.CloseWait },
		"reset":        func(v *Values) float64 { return v.Reset },
		"purged":       func(v *Values) float64 { return v.Purged },
		"overflow":     func(v *Values) float64 { return v.Overflow },
		"accept_error": func(v *Values) float64 { return v.AcceptError },
		"accepted":     func(v *Values) float64 { return v.Accepted },
	}
}

const measures = "close_wait, reset, purged, overflow, accept_error, accepted, wait, depth or stall"

// Parse reads a trigger. Its errors name the part that cannot be understood,
// and what would be.
func Parse(text string) (*Trigger, error) {
	t := &Trigger{}
	for _, alternative := range strings.Split(text, "|") {
		var all []condition
		for _, part := range strings.Split(alternative, "&") {
			c, err := parseCondition(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
		t.any = append(t.any, all)
	}
	return t, nil
}

func parseCondition(text string) (condition, error) {
	if text == "" {
		return condition{}, fmt.Errorf("a condition is missing: give one such as close_wait>=1/s")
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
	_, isRate := rates()[c.measure]
	switch {
	case !isRate && c.measure != "wait" && c.measure != "depth" && c.measure != "stall":
		return c, fmt.Errorf("%q is nothing that can be measured: choose from %s", c.measure, measures)
	case c.compare == "" && rest != "":
		return c, fmt.Errorf("%q has no comparison: write >, >=, < or <= after %s", text, c.measure)
	case c.compare == "" && (c.measure == "wait" || c.measure == "depth"):
		return c, fmt.Errorf("%s alone is always so: compare it, such as %s", c.measure, examples(c.measure))
	case c.compare != "" && c.measure == "stall":
		return c, fmt.Errorf("stall is so or not, and is not compared: write stall")
	}
	c.text = strings.Join(strings.Fields(text), "")
	if c.compare == "" {
		return c, nil
	}
	return c, c.parseValue(rest)
}

func (c *condition) parseValue(text string) error {
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
		n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "/s")), 64)
		c.value, ok = n, err == nil && n >= 0 && n <= 1e12
	}
	if !ok {
		return fmt.Errorf("%q cannot be compared with %s: write it such as %s", text, c.measure, examples(c.measure))
	}
	return nil
}

func examples(measure string) string {
	switch measure {
	case "wait":
		return "wait>1s"
	case "depth":
		return "depth>90% or depth>100"
	}
	return measure + ">=10/s"
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
		now = rates()[c.measure](v)
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
