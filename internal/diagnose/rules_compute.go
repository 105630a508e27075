package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

func computeRules() []Rule {
	return []Rule{
		{"gc", "The runtime collects garbage instead of running the program.", judgeGC},
		{"event_loop", "The thread whose epoll set watches the listener is busy elsewhere, with one handler.", judgeEventLoop},
		{"cpu", "The thread that accepts computes.", judgeCPU},
	}
}

// collectors are functions that only run while garbage is collected.
var collectors = []string{
	"runtime.gcBgMarkWorker", "runtime.gcDrain", "runtime.scanobject", "runtime.gcAssistAlloc", "runtime.gcStart",
	"v8::internal::Heap::CollectGarbage", "v8::internal::MarkCompactCollector", "v8::internal::Scavenger",
	"gc_collect_main", "collect_generations", "VM_GC_Operation", "VM_GenCollect", "GenCollectedHeap", "PSParallel", "G1CollectedHeap::do_",
}

// collecting is the part of the samples of a thread that are in a collector.
func collecting(t *Thread) (share float64, name string) {
	var all, in uint64
	for i := range t.OnCPU {
		s := &t.OnCPU[i]
		all += s.Count
		for _, f := range s.Frames {
			if slices.ContainsFunc(collectors, func(c string) bool { return strings.Contains(f.Function, c) }) {
				in += s.Count
				name = f.Function
				break
			}
		}
	}
	if all == 0 {
		return 0, ""
	}
	return float64(in) / float64(all), name
}

func judgeGC(r *reasoning) *Verdict {
	if !r.stalled() {
		return nil
	}
	collects, works := 0.0, 0.0
	var by []*doer
	name := ""
	for i := range r.doers {
		d := &r.doers[i]
		share, function := collecting(d.thread)
		switch {
		case share >= 0.5:
			collects += d.wants()
			by, name = append(by, d), function
		case isCollector(d):
			if collects += d.wants(); d.wants() >= 0.05 {
				by = append(by, d)
			}
		default:
			works += d.wants()
		}
	}
	if len(by) == 0 || collects < 0.4 || collects < works {
		return nil
	}
	slices.SortFunc(by, func(a, b *doer) int { return int(1000 * (b.wants() - a.wants())) })
	v := &Verdict{
		Cause: GC, Confidence: High,
		Summary:  fmt.Sprintf("%s[%d] collects garbage: that wants %s of a CPU, the program %s", by[0].process.Comm, by[0].process.PID, percent(collects), percent(works)),
		Evidence: r.lines(by...),
		Refute:   "the runtime's own log of collections (-Xlog:gc, GODEBUG=gctrace=1, --trace-gc) is quiet",
		Do:       "give it a larger heap (-Xmx, GOMEMLIMIT, --max-old-space-size), or find what it keeps: a heap dump tells",
	}
	if name != "" {
		v.Evidence = append(v.Evidence, "its stacks are in "+name)
	}
	return v
}

func isCollector(d *doer) bool { return collects(d.thread.Comm) }

// levelLoop says that the listener is watched by an epoll set that tells again
// and again: what is queued would be taken if a thread waited there.
func (r *reasoning) levelLoop() bool { return r.loop && !r.edge }

func judgeEventLoop(r *reasoning) *Verdict {
	if !r.stalled() || !r.levelLoop() {
		return nil
	}
	culprit, sure := r.loopThread()
	if culprit == nil {
		return nil
	}
	sure = r.ifAllWereSeen(sure)
	v := &Verdict{
		Cause: EventLoop, Confidence: sure,
		Refute: "the thread is back in epoll_wait at a second look",
		Do:     "make what the handler does asynchronous, or move it to a thread pool; an event loop must never wait nor compute for long",
	}
	what := culprit.does.words()
	switch {
	case culprit.does == running:
		what = "computes" + culprit.hotSpot()
	case culprit.does == resting && culprit.sight != nil:
		what = "waits inside of a handler, in " + culprit.sight.words()
	case culprit.sight != nil && culprit.sight.Target.Peer != "":
		what += ", " + culprit.sight.Target.Peer
	}
	watch := "an epoll set of the process watches the listener"
	if r.saturated() {
		v.Confidence = min(sure, Medium)
		v.Summary = fmt.Sprintf("the event loop accepts too slowly for what comes: %s %s", culprit.name(), what)
		v.Evidence = append(r.lines(culprit), watch)
	} else {
		v.Summary = fmt.Sprintf("one handler blocks the event loop: %s %s", culprit.name(), what)
		v.Evidence = append(r.lines(culprit), watch+", and no thread waits there")
	}
	v.Evidence = append(v.Evidence, culprit.stackLines()...)
	return v
}

// loopThread is the thread that should be in epoll_wait; nil: there is one
// there, or none can be told from the others.
func (r *reasoning) loopThread() (*doer, Confidence) {
	for _, d := range r.suspects {
		if d.does == waiting {
			return nil, 0
		}
	}
	var busy []*doer
	parked := false // the first thread of a process: it may be the one
	for _, d := range r.suspects {
		parked = parked || d.does == handover && d.first()
		if slices.Contains([]activity{running, ready, mutex, fileLock, disk, downstream, names, client, asleep, child, pipe}, d.does) {
			busy = append(busy, d)
		}
	}
	if len(busy) == 1 && busy[0].does != ready && !parked && (r.accepts(busy[0]) || busy[0].first()) {
		return busy[0], High
	}
	for _, d := range append(busy, r.suspects...) {
		if d.first() && d.does != unclear || r.accepts(d) && len(r.acceptors) > 0 {
			return d, Medium
		}
	}
	switch len(busy) {
	case 0:
		return nil, 0
	case 1:
		return busy[0], Medium
	}
	return busy[0], Low
}

// alsoFrom is the part of the looks from which on what a thread waits for is named,
// though it computes at others.
const alsoFrom = 0.3

func judgeCPU(r *reasoning) *Verdict {
	if !r.stalled() || r.levelLoop() {
		return nil
	}
	in := append(r.in(running), r.in(ready)...)
	if r.edge {
		in = r.computing()
	}
	if len(in) == 0 {
		return nil
	}
	d := in[0]
	sure := r.sureOf(in)
	switch {
	case r.edge: // which task computes is not seen
		sure = r.ifAllWereSeen(Medium)
	case d.does == ready: // it may have little to compute, and come to nothing
		sure = min(sure, Medium)
	}
	evidence := r.lines(in...)
	if what, share, _ := mostly(d.thread, holdsUp); share >= alsoFrom {
		sure = min(sure, Medium)
		evidence = append(evidence, fmt.Sprintf("it also %s, at %s of the looks", what.words(), percent(share)))
	}
	how := "does not come back to accept()"
	if r.saturated() {
		sure, how = min(sure, Medium), "accepts too slowly for what comes"
	}
	return &Verdict{
		Cause: CPU, Confidence: sure,
		Summary:  fmt.Sprintf("%s computes and %s%s", d.name(), how, d.hotSpot()),
		Evidence: append(evidence, d.stackLines()...),
		Refute:   "its CPU time does not grow while connections wait",
		Do:       "find what it computes (`perf top -p`, a profiler of the language), and do it outside of the thread that accepts",
	}
}

// computing are the threads on which the tasks of a runtime compute, which moves
// one between several: those that use a CPU, if together they want enough of one.
func (r *reasoning) computing() []*doer {
	var list []*doer
	all := 0.0
	for _, d := range r.suspects {
		if d.wants() >= 0.1 {
			list = append(list, d)
			all += d.wants()
		}
	}
	if all < enoughCPU {
		return nil
	}
	slices.SortFunc(list, func(a, b *doer) int { return int(1000 * (b.wants() - a.wants())) })
	return list
}

// hotSpot names the function that the thread is mostly in: ", in parse()".
func (d *doer) hotSpot() string {
	counts := make(map[string]uint64)
	var all, most uint64
	name := ""
	for i := range d.thread.OnCPU {
		s := &d.thread.OnCPU[i]
		all += s.Count
		if len(s.Frames) == 0 || s.Frames[0].Function == "" {
			continue
		}
		leaf := s.Frames[0].Function
		if counts[leaf] += s.Count; counts[leaf] > most {
			most, name = counts[leaf], leaf
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf(", in %s (%s of %d samples)", name, percent(float64(most)/float64(all)), all)
}

// stackLines is the most frequent stack, if there is one.
func (d *doer) stackLines() []string {
	var best *Stack
	for i := range d.thread.OnCPU {
		if s := &d.thread.OnCPU[i]; best == nil || s.Count > best.Count {
			best = s
		}
	}
	if best == nil {
		return nil
	}
	const most = 6
	var at []string
	for _, f := range best.Frames[:min(most, len(best.Frames))] {
		if f.Function != "" {
			at = append(at, f.Function)
		} else {
			at = append(at, fmt.Sprintf("%s+0x%x", f.Module, f.Offset))
		}
	}
	text := "on the CPU in " + strings.Join(at, " < ")
	if best.Truncated {
		text += " < ... (the outer frames are missing)"
	}
	return []string{text}
}
