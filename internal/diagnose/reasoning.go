package diagnose

import (
	"fmt"
	"slices"
	"time"
)

// doer is a thread and what it does.
type doer struct {
	process *Process
	thread  *Thread
	does    activity
	share   float64 // of the looks
	sight   *Sight  // the most frequent one that shows it; nil: none
	busy    float64 // part of the span on a CPU
	late    float64 // part of the span ready and without a CPU
	waited  bool    // for the listener, at one look at least
}

// reasoning is the evidence, and what all rules need of it.
type reasoning struct {
	*Evidence
	doers []doer

	// acceptors are those that are known to accept: they did so last, or wait
	// for the listener at times.
	acceptors []*doer
	// suspects are the acceptors, or if there are none, all that may be: where
	// epoll sets watch the listener, threads of the processes that have these.
	suspects []*doer
	loop     bool // an epoll set watches the listener
	edge     bool // and tells of each connection once
}

func reason(e *Evidence) *reasoning {
	r := &reasoning{Evidence: e}
	for i := range e.Processes {
		p := &e.Processes[i]
		for _, w := range p.Watches {
			r.loop = true
			r.edge = r.edge || w.Edge
		}
		for j := range p.Threads {
			r.doers = append(r.doers, newDoer(e, p, &p.Threads[j]))
		}
	}
	last, lastKnown := e.Queue.LastTID.Get()
	for i := range r.doers {
		d := &r.doers[i]
		if d.waited || lastKnown && d.thread.TID == last {
			r.acceptors = append(r.acceptors, d)
		}
	}
	r.suspects = r.acceptors
	if len(r.acceptors) == 0 || r.edge {
		r.suspects = nil
		for i := range r.doers {
			d := &r.doers[i]
			if r.loop && len(r.acceptors) == 0 && len(d.process.Watches) == 0 {
				continue // it inherited the listener, and leaves it to others
			}
			if !ofRuntime(d.thread.Comm) && !r.supervises(d) && !r.monitors(d) {
				r.suspects = append(r.suspects, d)
			}
		}
	}
	return r
}

const (
	// enoughCPU is the part of the span on a CPU, or ready for one, from which on
	// that is what a thread does.
	enoughCPU = 0.5
	// starvedFrom is how much longer than it runs a thread that is kept from
	// running is ready: it gets less than a fifth of a CPU.
	starvedFrom = 4
	// starvedLate is the part of the span that a thread waits for a CPU from which
	// on nothing else it waits for matters.
	starvedLate = 0.75
)

// wants is the part of the span in which a thread had something to compute.
func (d *doer) wants() float64 { return d.busy + d.late }

func newDoer(e *Evidence, p *Process, t *Thread) doer {
	d := doer{process: p, thread: t}
	if e.Span > 0 {
		d.busy = float64(t.Run.Or(0)) / float64(e.Span)
		d.late = float64(t.Delay.Or(0)) / float64(e.Span)
	}
	d.does, d.share, d.sight = mostly(t, func(activity) bool { return true })
	for i := range t.Sights {
		d.waited = d.waited || classify(&t.Sights[i]) == waiting
	}
	blocked := 1 - d.wants()
	switch {
	case d.does == halted || !t.Run.known:
	case d.wants() >= enoughCPU && d.late < starvedLate && blocked >= d.busy && d.waits():
		// It blocks again and again; that it gets a CPU late each time is not why.
		d.does, d.share, d.sight = mostly(t, holdsUp)
	case d.wants() >= enoughCPU && d.late >= starvedFrom*d.busy:
		d.does = ready
	case d.wants() >= enoughCPU:
		d.does = running
	case d.does == running && d.busy < 0.1 && d.share >= starvedLate:
		// The kernel counts the time without a CPU when it ends
		// (sched_info_arrive, kernel/sched/stats.h), and it has not.
		d.does = ready
	case d.does == running && d.busy < 0.1:
		d.does = unclear // it was met running, which it seldom does
	}
	return d
}

// mostly is what a thread was seen doing most often, of some activities, at what
// part of the looks, and the sight that shows it best.
func mostly(t *Thread, counts func(activity) bool) (does activity, share float64, sight *Sight) {
	looks := make(map[activity]int)
	all, most := 0, 0
	for i := range t.Sights {
		s := &t.Sights[i]
		all += s.Looks
		a := classify(s)
		if looks[a] += s.Looks; counts(a) && looks[a] > most {
			most, does = looks[a], a
		}
	}
	if most == 0 {
		return unclear, 0, nil
	}
	for i := range t.Sights {
		if classify(&t.Sights[i]) == does {
			sight = &t.Sights[i]
			break
		}
	}
	return does, float64(most) / float64(all), sight
}

// holdsUp says that a thread which does this could do something else if it had
// not to wait.
func holdsUp(a activity) bool {
	return slices.Contains([]activity{mutex, fileLock, disk, downstream, names, client, asleep, child, memory}, a)
}

// waits says that the thread was seen to wait for something, not only once.
func (d *doer) waits() bool {
	n := 0
	for i := range d.thread.Sights {
		if s := &d.thread.Sights[i]; holdsUp(classify(s)) {
			n += s.Looks
		}
	}
	return n >= 2
}

// supervises says that a thread only looks after others: the first of a process
// whose children hold the listener too.
func (r *reasoning) supervises(d *doer) bool {
	if !slices.Contains([]activity{child, resting, asleep, pipe}, d.does) {
		return false
	}
	return slices.ContainsFunc(r.Processes, func(p Process) bool { return p.Parent == d.process.PID })
}

// monitors says that a thread is the one by which a runtime with tasks of its own
// looks after the others: it naps while they run (sysmon, runtime/proc.go of Go),
// which a task that sleeps does not do in the kernel.
func (r *reasoning) monitors(d *doer) bool { return r.edge && d.does == asleep }

// slowFrom is the age of a queue's head from which on something is wrong.
const slowFrom = time.Second

// stalled says that what is queued is not accepted, or much too late.
func (r *reasoning) stalled() bool {
	q := &r.Queue
	if q.Depth.Or(0) == 0 {
		return false
	}
	if oldest, known := q.Oldest.Get(); known {
		return oldest >= slowFrom
	}
	accepting, known := q.Accepting.Get()
	return known && !accepting
}

// saturated says that what is queued is accepted, though much too late: more
// comes than is served, and nobody is stuck.
func (r *reasoning) saturated() bool { return r.stalled() && r.Queue.Accepting.Or(false) }

// refused says that connections were refused in the span. Without events, the
// kernel's counts have a drop now and then that is for another reason.
func (r *reasoning) refused() bool {
	n := r.Queue.Refused.Or(0)
	if r.Queue.FailuresSeen {
		return n > 0
	}
	return n >= refusedFrom
}

// refusedFrom is how many refusals are no accident.
const refusedFrom = 3

// failed is how many calls of accept() failed for want of descriptors.
func (r *reasoning) failed(errno string) (n uint64, by AcceptFailure) {
	for _, f := range r.Queue.Failures {
		if f.Errno == errno {
			if n == 0 {
				by = f
			}
			n += f.Count
		}
	}
	return n, by
}

// in are the suspects that do one of these.
func (r *reasoning) in(those ...activity) []*doer {
	var list []*doer
	for _, d := range r.suspects {
		if slices.Contains(those, d.does) {
			list = append(list, d)
		}
	}
	return list
}

// accepts says that a suspect is known to accept. That one did so last tells
// nothing where a runtime moves its tasks between threads.
func (r *reasoning) accepts(d *doer) bool {
	return len(r.suspects) == 1 || !r.edge && slices.Contains(r.acceptors, d)
}

// first says that it is the thread that the process began with, and not one that
// only waits until others end.
func (d *doer) first() bool {
	return d.thread.TID == d.process.PID && (d.sight == nil || d.sight.Target.Op != "join")
}

func (d *doer) name() string {
	if d.thread.TID == d.process.PID {
		return fmt.Sprintf("%s[%d]", d.process.Comm, d.process.PID)
	}
	return fmt.Sprintf("%s[%d/%d]", d.thread.Comm, d.process.PID, d.thread.TID)
}
