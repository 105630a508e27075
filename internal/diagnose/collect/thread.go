package collect

import (
	"cmp"
	"slices"
	"strings"

	"acceptwatch/internal/diagnose"
)

// threadLooks collects what a thread was seen doing.
type threadLooks struct {
	comm        string
	first, last counters
	sights      map[sightKey]int
	kernel      map[sightKey][]string
	seen        int
	look        int // the number of the last look that found it, from 1 on
	startTime   uint64
}

// counters are those of a thread so far.
type counters struct {
	run, delay, blockIO maybeTime
	voluntary           diagnose.Maybe[uint64]
	involuntary         diagnose.Maybe[uint64]
	faults              diagnose.Maybe[uint64]
}

type sightKey struct {
	state, call, wchan string
	target             diagnose.Target
}

// mostSights is how many different things are kept of a thread.
const mostSights = 4

// look looks at a thread once; false: it has gone.
func (c *collector) look(p *processLooks, tid int) bool {
	text, ok := c.proc.thread(p.pid, tid, "stat")
	stat, parsed := parseStat(text)
	if !ok || !parsed {
		return false
	}
	t := p.threads[tid]
	if t == nil || t.startTime != stat.startTime {
		t = &threadLooks{sights: make(map[sightKey]int), kernel: make(map[sightKey][]string), startTime: stat.startTime}
		p.threads[tid] = t
	}
	t.comm = stat.comm
	t.last = c.counters(p.pid, tid, &stat)
	if t.seen == 0 {
		t.first = t.last
	}
	t.seen++
	t.look = c.looks + 1
	key := c.sight(p.pid, tid, stat.state)
	t.sights[key]++
	if key.state != "R" && t.kernel[key] == nil && len(t.sights) <= mostSights {
		if stack, ok := c.proc.thread(p.pid, tid, "stack"); ok {
			t.kernel[key] = parseKernelStack(stack)
		}
	}
	return true
}

func (c *collector) sight(pid, tid int, state string) sightKey {
	key := sightKey{state: state}
	text, ok := c.proc.thread(pid, tid, "syscall")
	made, parsed := parseCall(text)
	if !ok {
		if c.proc.lives(pid, tid) { // or it has ended meanwhile
			c.refused++
		}
		return key
	}
	if !parsed || made.running || state == "R" {
		if made.running && (state == "S" || state == "D") {
			key.state = "R" // it woke up between the two
		}
		return key
	}
	if wchan, ok := c.proc.thread(pid, tid, "wchan"); ok && wchan != "0" {
		key.wchan, _, _ = strings.Cut(wchan, ".")
	}
	if made.none {
		return key
	}
	key.call, key.target = made.name, c.resolver.target(pid, &made)
	return key
}

func (c *collector) counters(pid, tid int, stat *threadStat) (n counters) {
	if text, ok := c.proc.thread(pid, tid, "schedstat"); ok {
		if run, delay, ok := parseSchedstat(text); ok {
			n.run, n.delay = diagnose.Known(run), diagnose.Known(delay)
		}
	}
	n.faults = diagnose.Known(stat.majorFaults)
	if c.delayAccounting {
		n.blockIO = diagnose.Known(stat.blockIO)
	}
	if text, ok := c.proc.thread(pid, tid, "status"); ok {
		if v, ok := field(text, "voluntary_ctxt_switches"); ok {
			n.voluntary = diagnose.Known(number(v))
		}
		if v, ok := field(text, "nonvoluntary_ctxt_switches"); ok {
			n.involuntary = diagnose.Known(number(v))
		}
	}
	return n
}

// result is the thread's part of the evidence.
func (t *threadLooks) result(tid int) diagnose.Thread {
	r := diagnose.Thread{
		TID: tid, Comm: t.comm,
		Run: grown(t.last.run, t.first.run), Delay: grown(t.last.delay, t.first.delay),
		BlockIO:     grown(t.last.blockIO, t.first.blockIO),
		Voluntary:   grown(t.last.voluntary, t.first.voluntary),
		Involuntary: grown(t.last.involuntary, t.first.involuntary),
		Faults:      grown(t.last.faults, t.first.faults),
	}
	for key, looks := range t.sights {
		r.Sights = append(r.Sights, diagnose.Sight{
			Looks: looks, State: key.state, Call: key.call, Wchan: key.wchan, Target: key.target, Kernel: t.kernel[key],
		})
	}
	slices.SortFunc(r.Sights, func(a, b diagnose.Sight) int {
		return cmp.Or(cmp.Compare(b.Looks, a.Looks), cmp.Compare(a.Call, b.Call), cmp.Compare(a.Target.Name, b.Target.Name), cmp.Compare(a.State, b.State))
	})
	r.Sights = r.Sights[:min(len(r.Sights), mostSights)]
	return r
}
