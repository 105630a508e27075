package diagnose

import (
	"fmt"
	"slices"
)

func absenceRules() []Rule {
	return []Rule{
		{"acceptor_parked", "A runtime is told of each connection once, and the task that accepts does not come for it.", judgeParked},
		{"acceptor_gone", "No thread waits for the listener, and none is busy: the one that accepts has left.", judgeGone},
	}
}

func judgeParked(r *reasoning) *Verdict {
	if !r.stalled() || !r.edge || len(r.in(halted)) > 0 || len(r.computing()) > 0 {
		return nil
	}
	p := &r.Processes[0]
	return &Verdict{
		Cause: AcceptorParked, Confidence: Medium,
		Summary: fmt.Sprintf("the goroutine or task of %s[%d] that accepts does not call accept(): it waits for something inside of the program, or has ended", p.Comm, p.PID),
		Evidence: append(r.lines(r.suspects...),
			"an epoll set watches the listener edge-triggered: the runtime was told of what is queued, and is not told again"),
		Refute: "the dump shows it in Accept",
		Do:     fmt.Sprintf("have the program show its tasks (Go: `kill -QUIT %d` ends it with a dump, /debug/pprof/goroutine?debug=2 does not): what the one with Accept in it waits for is the cause; often a full channel or a lock", p.PID),
	}
}

func judgeGone(r *reasoning) *Verdict {
	if !r.stalled() || r.loop || len(r.doers) == 0 || r.incomplete() {
		return nil
	}
	var elsewhere *doer
	for _, d := range r.suspects {
		if elsewhere == nil && d.atAnotherListener() {
			elsewhere = d
		}
		switch d.does {
		case resting, pipe:
		case client: // serves one of those that it has
			if r.accepts(d) {
				return nil
			}
		default:
			return nil // it may be the one
		}
	}
	v := &Verdict{
		Cause: AcceptorGone, Confidence: Medium,
		Summary: fmt.Sprintf("no thread of %s[%d] accepts any more: the one that did has ended or left its loop, while the process lives",
			r.Processes[0].Comm, r.Processes[0].PID),
		Evidence: append(r.lines(r.suspects...), "no thread is in accept() for the listener or watches it, and none is busy"),
		Refute:   "a thread that comes back to accept() later",
		Do:       "look in its log for an error of accept() or an exception in that thread, or a limit on connections of its own; restart it meanwhile",
	}
	if elsewhere != nil {
		where := ", " + elsewhere.sight.Target.Local
		if elsewhere.sight.Target.Local == r.Listener {
			where = " at the same address"
		}
		v.Summary = fmt.Sprintf("no thread accepts from this listener: %s is at another listener%s", elsewhere.name(), where)
		v.Do = "have a thread accept from this listener too, or close it: as long as it is open, clients are queued there; if one did until now, look in the server's log for why it ended"
	}
	return v
}

// atAnotherListener says that a thread waits in accept() of another listener, or
// in a poll that asks for one.
func (d *doer) atAnotherListener() bool {
	return d.does == resting && d.sight != nil && d.sight.Target.Listening
}

// incomplete says that there are threads that were not looked at.
func (r *reasoning) incomplete() bool {
	if r.Unseen > 0 {
		return true
	}
	for i := range r.Processes {
		if len(r.Processes[i].Threads) < r.Processes[i].ThreadCount {
			return true
		}
	}
	return false
}

// ifAllWereSeen is how sure a verdict can be that rests on nobody else being the
// one that accepts: little, if the one that does may not have been looked at.
func (r *reasoning) ifAllWereSeen(sure Confidence) Confidence {
	last, known := r.Queue.LastTID.Get()
	missed := known && !r.edge && !slices.ContainsFunc(r.doers, func(d doer) bool { return d.thread.TID == last })
	if missed || r.incomplete() && (r.edge || len(r.acceptors) == 0) {
		return min(sure, Low)
	}
	return sure
}
