package demo

import (
	"fmt"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/preflight"
)

// Reported is what the tracer said, counted by connection.
type Reported struct {
	Accepted    int           `json:"accepted"`
	FIN         int           `json:"fin"` // known to have been closed by the peer before accept
	RST         int           `json:"rst"` // known to have been reset before accept
	BeforeIt    int           `json:"queued_before_attach"`
	LongestWait time.Duration `json:"longest_wait_ns,omitempty"` // ns; 0: none was reported
}

// story is what the events say about one connection.
type story struct {
	accepted         int
	sampled          bool
	wait             time.Duration
	waitKnown        bool
	fin, rst, queued bool
}

// stories groups the events of a listener's port by the peer's port.
func stories(port uint16, events []event.Event) map[uint16]*story {
	all := make(map[uint16]*story)
	for i := range events {
		e := &events[i]
		if e.Local.Port() != port || e.Peer.Port() == 0 {
			continue
		}
		s := all[e.Peer.Port()]
		if s == nil {
			s = new(story)
			all[e.Peer.Port()] = s
		}
		switch e.Kind {
		case event.Accepted:
			s.accepted++
			s.sampled = e.Flags&event.Sampled != 0
			s.wait, s.waitKnown = e.Wait()
		case event.CloseWait:
			s.fin = true
		case event.Reset:
			s.rst = true
		case event.Queued:
			s.queued = true
		default:
			continue
		}
		// A state change that was missed is seen again here.
		s.fin = s.fin || e.State == event.CloseWaited
		s.rst = s.rst || e.State == event.Close
	}
	return all
}

// compare holds what the tracer reported against what the demo made, and says
// in sentences what differs. It is pure. released is when the slow request was
// told to end: nothing was accepted before.
func compare(mode string, port uint16, made []Client, released time.Time, events []event.Event) (Reported, []string) {
	var (
		told     Reported
		differs  []string
		left     = stories(port, events)
		strangef = func(c *Client, format string, args ...any) {
			differs = append(differs, fmt.Sprintf("the client at port %d (%s): ", c.Port, c.Fate)+fmt.Sprintf(format, args...))
		}
	)
	sampled := mode == preflight.ModeRestricted
	for i := range made {
		c := &made[i]
		s := left[c.Port]
		if s == nil {
			strangef(c, "nothing was reported")
			continue
		}
		delete(left, c.Port)
		count(&told, c, s)

		switch {
		case s.accepted > 1:
			strangef(c, "its accept was reported %d times", s.accepted)
		case s.accepted == 0 && !sampled:
			strangef(c, "its accept was not reported")
		}
		if s.fin != (c.Fate == FIN) {
			strangef(c, "CLOSE_WAIT before accept reported: %v", s.fin)
		}
		if s.rst != (c.Fate == RST) {
			strangef(c, "CLOSE before accept reported: %v", s.rst)
		}
		if s.accepted == 1 && !sampled && !s.sampled {
			compareWait(c, s, released, strangef)
		}
	}
	for peer, s := range left {
		if s.accepted > 0 || s.fin || s.rst {
			differs = append(differs, fmt.Sprintf("a connection from port %d was reported, and the demo made none", peer))
		}
	}
	return told, differs
}

func count(told *Reported, c *Client, s *story) {
	if s.accepted > 0 {
		told.Accepted++
	}
	if s.fin {
		told.FIN++
	}
	if s.rst {
		told.RST++
	}
	if c.BeforeAttach {
		told.BeforeIt++
	}
	if s.waitKnown {
		told.LongestWait = max(told.LongestWait, s.wait)
	}
}

// slack covers what lies between a clock read here and the moment in the
// kernel that it stands for: a busy machine may take the CPU away in between.
const slack = 100 * time.Millisecond

// compareWait checks that the wait lies between the shortest and the longest
// that is possible by the demo's own clock.
func compareWait(c *Client, s *story, released time.Time, strangef func(*Client, string, ...any)) {
	if !s.waitKnown {
		strangef(c, "its wait was not reported")
		return
	}
	shortest := released.Sub(c.Connected) - slack
	longest := c.Accepted.Sub(c.Dialled) + slack
	if s.wait < shortest || s.wait > longest {
		strangef(c, "a wait of %v was reported; it was between %v and %v", s.wait.Round(time.Millisecond),
			max(0, shortest).Round(time.Millisecond), longest.Round(time.Millisecond))
	}
}
