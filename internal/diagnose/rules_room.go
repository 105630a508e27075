package diagnose

import "fmt"

func roomRules() []Rule {
	return []Rule{
		{"thundering_herd", "Each connection wakes many threads, of which one gets it.", judgeHerd},
		{"somaxconn", "net.core.somaxconn cuts the backlog, and a healthy server refuses bursts.", judgeSomaxconn},
		{"backlog_too_small", "The backlog is too small for the bursts that a healthy server gets.", judgeBacklog},
	}
}

// overrun says that connections were refused though the server accepts.
func (r *reasoning) overrun() bool {
	return r.refused() && !r.stalled() && r.Queue.Accepting.Or(true)
}

// sureOfRefusals is less where they are not those of events, but of counts that
// other listeners and other drops of handshakes are in.
func (r *reasoning) sureOfRefusals() Confidence {
	if r.Queue.FailuresSeen {
		return High
	}
	return Medium
}

func (r *reasoning) cut() bool {
	backlog, known := r.Queue.Backlog.Get()
	limit, limited := r.Queue.Somaxconn.Get()
	return known && limited && backlog == limit
}

func judgeSomaxconn(r *reasoning) *Verdict {
	if !r.overrun() || !r.cut() {
		return nil
	}
	limit := r.Queue.Somaxconn.Or(0)
	return &Verdict{
		Cause: Somaxconn, Confidence: r.sureOfRefusals(),
		Summary:  fmt.Sprintf("net.core.somaxconn cuts the backlog to %d, which is too little for the bursts that come", limit),
		Evidence: append(r.lines(), fmt.Sprintf("the backlog is exactly net.core.somaxconn, %d: what listen() asked for is as much or more", limit)),
		Refute:   "the server asks for no more than that (`strace -e listen` at its start)",
		Do:       "raise net.core.somaxconn in the network namespace of the server, and restart it or let it call listen() again",
	}
}

func judgeBacklog(r *reasoning) *Verdict {
	if !r.overrun() || r.cut() {
		return nil
	}
	return &Verdict{
		Cause: BacklogTooSmall, Confidence: r.sureOfRefusals(),
		Summary:  fmt.Sprintf("the server accepts, and its backlog of %d is too small for the bursts that come", r.Queue.Backlog.Or(0)),
		Evidence: r.lines(),
		Refute:   "clients wait long in the queue: then the server is too slow, and a longer queue makes them wait longer",
		Do:       "have the server call listen() with a larger backlog (1024), and raise net.core.somaxconn if that is smaller",
	}
}

const (
	herdFrom = 8 // threads that wait without taking turns
	// wakesPerAccept is how many of them one connection wakes at least.
	wakesPerAccept = 4
)

func judgeHerd(r *reasoning) *Verdict {
	if !r.refused() && !r.stalled() {
		return nil
	}
	var herd []*doer
	var wakes uint64
	for _, d := range r.acceptors {
		if d.sight == nil || d.sight.Call == "accept" || d.sight.Call == "accept4" || r.takesTurns(d) {
			continue
		}
		herd = append(herd, d)
		wakes += d.thread.Voluntary.Or(0)
	}
	if len(herd) < herdFrom || float64(wakes) < 100*r.Span.Seconds() {
		return nil
	}
	v := &Verdict{
		Cause: ThunderingHerd, Confidence: Low,
		Summary: fmt.Sprintf("each connection wakes many: %d threads wait for the listener without taking turns, and woke up %s in %s",
			len(herd), times(wakes), span(r.Span)),
		Evidence: r.lines(herd[0]),
		Refute:   "about as many wake-ups as accepted connections",
		Do:       "wait with EPOLLEXCLUSIVE, or give each worker its own listener (SO_REUSEPORT)",
	}
	if accepted, known := r.Queue.Accepted.Get(); known {
		if wakes < wakesPerAccept*max(accepted, 1) {
			return nil
		}
		v.Confidence = High
		v.Evidence = append(v.Evidence, fmt.Sprintf("%d wake-ups for %d accepted connections", wakes, accepted))
	}
	return v
}

// takesTurns says that a thread waits in an epoll set that wakes one only.
func (r *reasoning) takesTurns(d *doer) bool {
	for _, w := range d.process.Watches {
		if w.Exclusive {
			return true
		}
	}
	return false
}
