package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

func crowdRules() []Rule {
	return []Rule{
		{"accept_mutex", "Processes take turns at accept() by a lock, and who has it does not accept.", judgeAcceptMutex},
		{"pool", "All workers of a fixed number are busy with the same.", judgePool},
	}
}

func judgeAcceptMutex(r *reasoning) *Verdict {
	if !r.stalled() {
		return nil
	}
	byLock := make(map[string][]*doer)
	for _, d := range r.in(fileLock, mutex) {
		lock := d.sight.Call + " " + d.sight.Target.Name
		if d.does == mutex {
			if !strings.HasPrefix(d.sight.Target.Name, SharedFutex) {
				continue
			}
			lock = SharedFutex // the same one has another address in each process
		}
		byLock[lock] = append(byLock[lock], d)
	}
	for _, waiters := range byLock {
		processes := make(map[int]bool)
		for _, d := range waiters {
			processes[d.process.PID] = true
		}
		if len(processes) < 2 {
			continue
		}
		v := &Verdict{
			Cause: AcceptMutex, Confidence: High,
			Summary: fmt.Sprintf("%d workers wait for the lock that lets one of them accept", len(waiters)),
			Refute:  "the lock changes hands between two looks",
			Do:      "free the worker that has the lock; without it (accept_mutex off, SO_REUSEPORT, EPOLLEXCLUSIVE) one stuck worker does not stop the others",
		}
		v.Evidence = r.lines(waiters...)
		for _, d := range r.suspects {
			if !slices.Contains(waiters, d) && d.does != resting && d.does != handover {
				v.Summary += fmt.Sprintf("; %s, which is not among them, %s", d.name(), d.does.words())
				v.Evidence = append(v.Evidence, d.line(r.Evidence))
				return v
			}
		}
		return v
	}
	return nil
}

// serving are the activities of a worker that has something to do.
var serving = []activity{names, downstream, disk, mutex, asleep, child, running, client}

func judgePool(r *reasoning) *Verdict {
	if !r.stalled() || r.loop {
		return nil
	}
	var best []*doer
	processes := make(map[int]bool)
	for _, does := range serving {
		if in := r.in(does); len(in) > len(best) {
			best = in
		}
	}
	if len(best) < 2 {
		return nil
	}
	for _, d := range best {
		processes[d.process.PID] = true
	}
	for _, d := range r.suspects {
		if d.does == waiting || len(processes) < 2 && d.does != best[0].does && slices.Contains(serving, d.does) {
			return nil
		}
	}
	does := best[0].does
	if does == mutex {
		return nil
	}
	v := &Verdict{
		Cause: Pool, Confidence: r.ifAllWereSeen(sureOfPool(best, len(processes))),
		Summary:  fmt.Sprintf("all %d workers are busy, and no one is left to accept: each %s", len(best), does.words()),
		Evidence: r.lines(best...),
		Refute:   "a worker that waits for work while connections are queued",
		Do:       "mend what they wait for, give it a timeout, or have more workers",
	}
	if r.saturated() {
		v.Confidence = min(v.Confidence, Medium)
		v.Summary = fmt.Sprintf("all %d workers are busy, and accept too slowly for what comes: each %s", len(best), does.words())
	}
	if peer := commonPeer(best); peer != "" {
		v.Summary += ": " + peer
	}
	return v
}

// poolFrom is how many threads that do the same are more than those that every
// program has in the background.
const poolFrom = 4

// sureOfPool is how sure it is that these are the workers. Threads of one process
// may do the same in the background, or because the one that accepts is stuck.
func sureOfPool(workers []*doer, processes int) Confidence {
	switch does := workers[0].does; {
	case processes > 1:
		return High
	case does == client, does == running:
		return Low
	case len(workers) >= poolFrom || commonPeer(workers) != "":
		return Medium
	}
	return Low
}

// commonPeer is what all of them talk to; empty: not the same.
func commonPeer(doers []*doer) string {
	peer := ""
	for _, d := range doers {
		if d.sight == nil || d.sight.Target.Peer == "" || peer != "" && peer != d.sight.Target.Peer {
			return ""
		}
		peer = d.sight.Target.Peer
	}
	return peer
}
