package diagnose

import (
	"fmt"
	"slices"
)

// wait is a cause of one kind: the thread that accepts waits for something.
type wait struct {
	cause      Cause
	text       string
	of         []activity
	summary    func(d *doer) string
	refute, do string
}

func waits() []wait {
	return []wait{
		{
			cause: DNS, of: []activity{names}, text: "The thread that accepts waits for a name server.",
			summary: func(d *doer) string { return "waits for DNS: " + d.sight.Target.peer() },
			refute:  "`resolvectl query` or `dig` of what it looks up answers at once",
			do:      "do not look up names in the thread that accepts (client names for a log can be left out); mend the name server of /etc/resolv.conf",
		},
		{
			cause: Downstream, of: []activity{downstream}, text: "The thread that accepts waits for another server.",
			summary: func(d *doer) string { return "waits for another server: " + d.sight.Target.peer() },
			refute:  "that server answers quickly to others, and the thread is elsewhere at a second look",
			do:      "look at the other server first; give the call a timeout, and make it outside of the thread that accepts",
		},
		{
			cause: Disk, of: []activity{disk}, text: "The thread that accepts waits for a disk or a file system.",
			summary: func(d *doer) string {
				if d.sight == nil {
					return "waits for a disk"
				}
				if about := d.sight.Target.words(); about != "" {
					return fmt.Sprintf("waits for a file in %s: %s", d.sight.Call, about)
				}
				return "waits for a file system in " + d.sight.words()
			},
			refute: "the disk is idle (`iostat -x 1`) and the file is read at once by `cat`",
			do:     "look at the disk or the file server (`iostat -x`, NFS); move fsync and file reads out of the thread that accepts",
		},
		{
			cause: Lock, of: []activity{mutex, fileLock}, text: "The thread that accepts waits for a lock that another thread has.",
			summary: func(d *doer) string { return "waits for a lock: " + d.sight.words() },
			refute:  "it is elsewhere at a second look, or the lock changes hands all the time",
			do:      "find who has the lock: the stacks of the other threads (`gdb -p`, jstack, py-spy dump) show what it does with it",
		},
		{
			cause: SlowClient, of: []activity{client}, text: "The thread that accepts reads from, or writes to, one client, and waits for it.",
			summary: func(d *doer) string { return "waits for a client: " + d.sight.Target.peer() },
			refute:  "the thread is elsewhere at a second look",
			do:      "give reads and writes of clients a timeout, and serve them outside of the thread that accepts",
		},
		{
			cause: Child, of: []activity{child}, text: "The thread that accepts waits for a child process to end.",
			summary: func(*doer) string { return "waits for a child process to end" },
			refute:  "the thread is elsewhere at a second look",
			do:      "look at what the child does (`pstree -p`); wait for it outside of the thread that accepts",
		},
		{
			cause: Sleeping, of: []activity{asleep}, text: "The thread that accepts sleeps.",
			summary: func(*doer) string { return "sleeps (nanosleep)" },
			refute:  "the thread is elsewhere at a second look",
			do:      "find the sleep in the code that serves a connection: a retry, a rate limit, a back-off after a failed accept()",
		},
	}
}

func (t *Target) peer() string {
	if t.Peer != "" {
		return t.Peer
	}
	return t.words()
}

func waitRules() []Rule {
	var rules []Rule
	for _, w := range waits() {
		rules = append(rules, Rule{string(w.cause), w.text, w.judge})
	}
	return append(rules, Rule{"lock_handover", "The thread that accepts waits for another thread to wake it up.", judgeHandover})
}

func (w wait) judge(r *reasoning) *Verdict {
	if !r.stalled() || r.levelLoop() {
		return nil
	}
	in := r.in(w.of...)
	if len(in) == 0 {
		return nil
	}
	v := &Verdict{
		Cause: w.cause, Confidence: r.sureOf(in),
		Summary:  in[0].name() + " " + w.summary(in[0]),
		Evidence: r.lines(in...), Refute: w.refute, Do: w.do,
	}
	if in[0].does == mutex {
		// What others wait for is only a cause if one of them has the lock.
		v.Confidence = r.ifAllWereSeen(max(v.Confidence, Medium))
		if holder := r.mayHold(in); holder != nil {
			v.Evidence = append(v.Evidence, "who may have the lock: "+holder.line(r.Evidence))
		}
	}
	return v
}

// mayHold is the only other thread that is busy; nil: none or several are.
func (r *reasoning) mayHold(waiters []*doer) *doer {
	var found *doer
	for _, d := range r.suspects {
		if slices.Contains(waiters, d) || !slices.Contains(serving, d.does) {
			continue
		}
		if found != nil {
			return nil
		}
		found = d
	}
	return found
}

// sureOf is how sure it is that one of these threads is the one that accepts.
func (r *reasoning) sureOf(in []*doer) Confidence {
	others, parked := 0, 0
	for _, d := range r.suspects {
		switch d.does {
		case waiting:
			if !r.edge {
				return Low // it would take what is queued
			}
		case handover: // which may be the one
			parked++
		case resting, unclear:
		default:
			others++
		}
	}
	switch {
	case r.accepts(in[0]) && in[0].share >= 0.5:
		return r.ifAllWereSeen(High)
	case others == 1 && (parked == 0 || in[0].first()):
		return r.ifAllWereSeen(Medium)
	}
	return Low
}

// judgeHandover speaks of threads in a futex that may be anything: a condition,
// a semaphore, a queue, a monitor. Idle threads are in one too, so it needs to
// be known that this one accepts.
func judgeHandover(r *reasoning) *Verdict {
	if !r.stalled() || r.loop {
		return nil
	}
	for _, d := range r.in(handover) {
		if !r.accepts(d) {
			continue
		}
		return &Verdict{
			Cause: Lock, Confidence: Medium,
			Summary:  d.name() + " waits for another thread: a lock, a condition, or room in a queue",
			Evidence: r.lines(d),
			Refute:   "it is elsewhere at a second look",
			Do:       "the stacks of all threads (`gdb -p`, jstack, py-spy dump) show what it waits for, and who is to give it",
		}
	}
	return nil
}
