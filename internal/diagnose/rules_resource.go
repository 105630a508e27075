package diagnose

import (
	"fmt"
	"time"

	"acceptwatch/internal/quantity"
)

func resourceRules() []Rule {
	return []Rule{
		{"throttled", "The CPU quota of its control group keeps the server from running.", judgeThrottled},
		{"reclaim", "The server waits for memory: reclaim, its control group's limit, or swap.", judgeReclaim},
		{"starved", "The server is ready to run, and others have the CPUs.", judgeStarved},
	}
}

// muchOf says that a time is a large part of the span.
func (r *reasoning) muchOf(d time.Duration) bool { return r.Span > 0 && 3*d >= r.Span }

func judgeThrottled(r *reasoning) *Verdict {
	if !r.stalled() {
		return nil
	}
	for i := range r.Cgroups {
		g := &r.Cgroups[i]
		periods, throttled := g.Periods.Or(0), g.Throttled.Or(0)
		if quota, known := g.Quota.Get(); !known || quota == 0 || throttled == 0 || 2*throttled < periods {
			continue
		}
		late, short := r.in(ready), false
		for _, d := range r.suspects {
			short = short || d.does == running || d.does == unclear || d.sight != nil && d.sight.State == "R"
		}
		if len(late) == 0 && !short && !r.muchOf(g.ThrottledNS.Or(0)) {
			continue
		}
		return &Verdict{
			Cause: Throttled, Confidence: High,
			Summary: fmt.Sprintf("the CPU quota of its control group stops the server: it may use %.2g CPUs", g.Quota.Or(0)),
			Evidence: append(r.lines(late...), fmt.Sprintf("cgroup %s: throttled in %d of %d periods, for %s in %s",
				g.Path, throttled, periods, span(g.ThrottledNS.Or(0)), span(r.Span))),
			Refute: "nr_throttled of cpu.stat does not grow while connections wait",
			Do:     "raise the quota (CPUQuota=, `docker update --cpus`, resources.limits.cpu), or make the server use less CPU",
		}
	}
	return nil
}

func judgeReclaim(r *reasoning) *Verdict {
	if !r.stalled() {
		return nil
	}
	v := &Verdict{
		Cause: Reclaim, Confidence: High, Summary: "the server waits for memory",
		Refute: "memory.pressure stays low while connections wait",
		Do:     "give it more memory (memory.high, memory.max), or make it use less; look at what is in swap",
	}
	in := r.in(memory)
	v.Evidence = r.lines(in...)
	found := len(in) > 0
	for i := range r.Cgroups {
		g := &r.Cgroups[i]
		if r.muchOf(g.MemoryStall.Or(0)) {
			found = true
			v.Evidence = append(v.Evidence, fmt.Sprintf("all of cgroup %s waited for memory for %s of %s", g.Path, span(g.MemoryStall.Or(0)), span(r.Span)))
		}
		if n := g.HighEvents.Or(0) + g.MaxEvents.Or(0); n > 0 {
			found = found || r.thrashes()
			v.Evidence = append(v.Evidence, fmt.Sprintf("cgroup %s ran into its memory limit %s", g.Path, times(n)))
		}
	}
	for _, d := range r.suspects {
		if n := d.thread.Faults.Or(0); r.manyFaults(n) {
			v.Evidence = append(v.Evidence, fmt.Sprintf("%s had %s in %s", d.name(), quantity.Plural(n, "major page fault"), span(r.Span)))
			if swapped := d.process.Swapped.Or(0); swapped > 0 {
				found = true
				v.Evidence = append(v.Evidence, fmt.Sprintf("%d MiB of it are in swap", swapped>>20))
			}
		}
	}
	if !found {
		return nil
	}
	return v
}

// manyFaults is more than a start of a program makes: 50 a second.
func (r *reasoning) manyFaults(n uint64) bool { return float64(n) > 50*r.Span.Seconds() }

// thrashes says that the suspects wait for pages.
func (r *reasoning) thrashes() bool {
	for _, d := range r.suspects {
		if r.manyFaults(d.thread.Faults.Or(0)) || d.sight != nil && d.sight.State == "D" && d.sight.Call == "" {
			return true
		}
	}
	return false
}

func judgeStarved(r *reasoning) *Verdict {
	late := r.in(ready)
	if !r.stalled() || len(late) == 0 {
		return nil
	}
	v := &Verdict{
		Cause: Starved, Confidence: High,
		Summary:  fmt.Sprintf("%s is ready to run and gets no CPU: others have them", late[0].name()),
		Evidence: r.lines(late...),
		Refute:   "its run delay (second number of /proc/PID/schedstat) does not grow",
		Do:       "find what uses the CPUs (`top`), and give the server its share: CPUWeight=, nice, another CPU set",
	}
	if stall, known := r.System.CPUStall.Get(); known {
		v.Evidence = append(v.Evidence, fmt.Sprintf("some task of the machine waited for a CPU for %s of %s", span(stall), span(r.Span)))
	}
	return v
}
