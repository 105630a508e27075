package demo

import (
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/preflight"
)

// Outcome is what the demo made and what the tracer said about it. Its JSON
// form is the demo's last line.
type Outcome struct {
	Mode     string        `json:"mode"`
	Port     uint16        `json:"port"`
	Queued   int           `json:"queued"`               // connections that had to wait
	Early    int           `json:"queued_before_attach"` // of Queued
	FINs     int           `json:"fin"`                  // of Queued: gave up by FIN
	RSTs     int           `json:"rst"`                  // of Queued: gave up by RST
	Refused  int           `json:"refused"`              // clients that got no answer to their SYN
	Blocked  time.Duration `json:"blocked_ns"`           // ns: the server's thread was in its slow request
	Found    int           `json:"found_dead"`           // by the server, when it accepted at last
	Look     *Look         `json:"sockets,omitempty"`    // nil: could not be listed
	Reported Reported      `json:"reported"`
	Differs  []string      `json:"differences,omitempty"`
}

// Look is what a list of sockets showed just before the server resumed.
type Look struct {
	Depth       uint32 `json:"depth"`   // Recv-Q of the LISTEN row
	Backlog     uint32 `json:"backlog"` // Send-Q of the LISTEN row
	CloseWait   int    `json:"close_wait"`
	Established int    `json:"established"` // without a process
}

// Agrees reports whether the tracer told what was made.
func (o *Outcome) Agrees() bool { return len(o.Differs) == 0 }

// Paragraphs says in plain words what happened, from the numbers.
func (o *Outcome) Paragraphs() []string {
	return append([]string{o.happened(), o.without(), o.with(), o.advice()}, o.differences()...)
}

func (o *Outcome) happened() string {
	return fmt.Sprintf("What happened: the server's only thread sat in one slow request for %s. "+
		"The kernel kept finishing handshakes meanwhile: %s waited in the accept queue, which holds %d "+
		"(backlog %d, and one more)%s. While they waited, %s gave up by closing (FIN) and %d by reset (RST); "+
		"when the server accepted again, it found %d of its peers dead.",
		seconds(o.Blocked), plural(o.Queued, "connection"), backlog+1, backlog,
		o.refused(), plural(o.FINs, "client"), o.RSTs, o.Found)
}

func (o *Outcome) refused() string {
	if o.Refused == 0 {
		return ""
	}
	return fmt.Sprintf(", and %s got no answer at all", plural(o.Refused, "more client"))
}

func (o *Outcome) without() string {
	if o.Look == nil {
		return "What ss would have shown could not be looked up here."
	}
	return fmt.Sprintf("What ss showed: `ss -ltn` had Recv-Q %d, Send-Q %d for port %d, and `ss -tanp` "+
		"%d CLOSE_WAIT and %d ESTABLISHED with no process, because nobody had accepted them. "+
		"Those that were reset have no row at all.",
		o.Look.Depth, o.Look.Backlog, o.Port, o.Look.CloseWait, o.Look.Established)
}

func (o *Outcome) with() string {
	r := &o.Reported
	s := fmt.Sprintf("What acceptwatch showed (mode %s): it told %d that died by FIN and %d by RST before accept, "+
		"and noticed %s", o.Mode, r.FIN, r.RST, plural(r.Accepted, "accept"))
	if r.LongestWait > 0 {
		s += ", the longest after a wait of " + seconds(r.LongestWait)
	}
	s += fmt.Sprintf(". %s been queued before it was started, and %s seen all the same.",
		had(r.BeforeIt), was(r.BeforeIt))
	if o.Mode == preflight.ModeRestricted {
		s += " In this mode accepts are sampled, so those waits are rounded up to the next look."
	}
	return s
}

func (o *Outcome) advice() string {
	return "What to do about the real thing: nothing is wrong with how the server closes its sockets. " +
		"Find out what keeps it from calling accept: " +
		"while it lasts, acceptwatch diagnose --port PORT looks at its threads and says what they wait for. Then move the slow work off the thread that accepts, " +
		"or limit it by a timeout; a bigger backlog only makes more clients wait."
}

func (o *Outcome) differences() []string {
	if o.Agrees() {
		return nil
	}
	return []string{fmt.Sprintf("NOT AS IT WAS: what was reported differs from what the demo made %s. "+
		"Please report this with the output of `acceptwatch doctor`:\n  %s",
		"in "+plural(len(o.Differs), "point"), strings.Join(o.Differs, "\n  "))}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func had(n int) string {
	if n == 1 {
		return "1 of them had"
	}
	return fmt.Sprintf("%d of them had", n)
}

func was(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func seconds(d time.Duration) string {
	return d.Round(10 * time.Millisecond).String()
}
