package diagnose

import (
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/quantity"
)

// span writes a time with two or three digits: "820 ms", "12.4 s", "3m20s".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// queueLine says what the queue shows.
func (r *reasoning) queueLine() string {
	q := &r.Queue
	var parts []string
	if depth, known := q.Depth.Get(); known {
		text := quantity.Plural(depth, "connection") + " queued"
		if backlog, known := q.Backlog.Get(); known {
			text = fmt.Sprintf("%d of %d+1 places taken", depth, backlog)
		}
		parts = append(parts, text)
	}
	if oldest, known := q.Oldest.Get(); known && q.Depth.Or(0) > 0 {
		parts = append(parts, "the oldest for "+span(oldest))
	}
	if n, known := q.Accepted.Get(); known {
		parts = append(parts, fmt.Sprintf("%d accepted in %s", n, span(r.Span)))
	} else if accepting, known := q.Accepting.Get(); known {
		text := "some were accepted in "
		if !accepting {
			text = "none accepted in "
		}
		parts = append(parts, text+span(r.Span))
	}
	if n := q.Refused.Or(0); n > 0 {
		parts = append(parts, fmt.Sprintf("%d refused", n))
	}
	return strings.Join(parts, ", ")
}

// line says what a thread was seen doing.
func (d *doer) line(e *Evidence) string {
	text := d.name() + " " + d.does.words()
	if d.sight != nil && d.does != running && d.does != ready {
		text += ": " + d.sight.words()
		text += fmt.Sprintf(", at %s of the looks", percent(d.share))
	}
	if d.does == ready && d.share > 0 {
		text += fmt.Sprintf(", seen so at %s of the looks", percent(d.share))
	}
	if run, known := d.thread.Run.Get(); known {
		text += fmt.Sprintf("; on a CPU for %s", span(run))
		if delay, known := d.thread.Delay.Get(); known {
			text += fmt.Sprintf(", ready without one for %s", span(delay))
		}
		text += " of " + span(e.Span)
	}
	if n, known := d.thread.Voluntary.Get(); known && n == 0 && d.busy == 0 && d.does != ready {
		text += ", and never woke up"
	}
	return text
}

// words are "read(5) from 10.0.0.7:5432".
func (s *Sight) words() string {
	text := s.Call
	if text == "" {
		text = "no system call"
		if s.Wchan != "" {
			text = s.Wchan
		}
	}
	if about := s.Target.words(); about != "" {
		text += " on " + about
	}
	if s.State == "D" {
		text += " (uninterruptible)"
	}
	return text
}

func (t *Target) words() string {
	switch t.Kind {
	case "":
		return ""
	case KindTCP, KindUDP, KindUnix:
		if t.Listening {
			return fmt.Sprintf("another listener, %s (descriptor %d)", t.Local, t.FD)
		}
		text := t.Kind + " socket"
		if t.Peer != "" {
			text += " to " + t.Peer
		}
		return text + fmt.Sprintf(" (descriptor %d)", t.FD)
	case KindFutex:
		return t.Name
	case KindFile, KindPipe, KindEpoll, KindOther:
		if t.Name == "" {
			return fmt.Sprintf("%s (descriptor %d)", t.Kind, t.FD)
		}
		return fmt.Sprintf("%s (descriptor %d)", t.Name, t.FD)
	}
	return t.Name
}

// lines are the queue's and those of some threads.
func (r *reasoning) lines(doers ...*doer) []string {
	var list []string
	if line := r.queueLine(); line != "" {
		list = append(list, line)
	}
	const most = 4
	for i, d := range doers {
		if i == most {
			return append(list, "and "+quantity.Of(len(doers)-most, "more thread[ like this|s like these]"))
		}
		list = append(list, d.line(r.Evidence))
	}
	return list
}
