package collect

import (
	"maps"
	"slices"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/owner"
)

type maybeTime = diagnose.Maybe[time.Duration]

// processLooks collects what a process was seen doing.
type processLooks struct {
	pid       int
	startTime uint64
	result    diagnose.Process
	threads   map[int]*threadLooks
	count     int // threads
	denied    bool
}

// mostDescriptors is how many descriptors of a process are looked at, for epoll
// sets that watch the listener.
const mostDescriptors = 4096

func (c *collector) newProcess(o owner.Process) *processLooks {
	p := &processLooks{pid: o.PID, startTime: o.StartTime, threads: make(map[int]*threadLooks)}
	p.result = diagnose.Process{PID: o.PID, Comm: o.Comm}
	if id, err := c.opt.Identities.Of(o); err == nil {
		p.result.Exe, p.result.Command, p.result.Parent = id.Exe, id.Command, id.Parent
		p.result.Unit, p.result.Container, p.result.Cgroup = id.Unit, id.Container, id.Cgroup
		p.result.Runtime, p.result.Pod = id.Runtime, id.Pod
	}
	return p
}

// lookAtThreads looks at all threads, the first ones if they are too many.
func (c *collector) lookAtThreads(p *processLooks) {
	room := c.opt.MaxThreads - c.lookedAt
	tids, all, err := c.proc.numbers(p.pid, "task", max(0, room))
	if err != nil {
		return
	}
	p.count = all
	for _, tid := range tids {
		if c.look(p, tid) {
			c.lookedAt++
		}
	}
}

// describe reads what is needed of a process once.
func (c *collector) describe(p *processLooks) {
	r := &p.result
	if text, ok := c.proc.text(p.pid, "limits"); ok {
		if n, ok := descriptorLimit(text); ok {
			r.DescriptorLimit = diagnose.Known(n)
		}
	}
	if text, ok := c.proc.text(p.pid, "status"); ok {
		if word, ok := field(text, "TracerPid"); ok {
			tracer := int(number(word))
			r.Tracer = diagnose.Known(tracer)
			if comm, ok := c.proc.text(tracer, "comm"); tracer != 0 && ok {
				r.TracerComm = trimLine(comm)
			}
		}
		if word, ok := field(text, "VmSwap"); ok {
			r.Swapped = diagnose.Known(number(word) << 10)
		}
	}
	fds, all, err := c.proc.numbers(p.pid, "fd", mostDescriptors)
	if err != nil {
		p.denied = true
		return
	}
	r.Descriptors = diagnose.Known(all)
	slices.Sort(fds)
	for _, fd := range fds {
		if c.proc.link(p.pid, fd) != "anon_inode:[eventpoll]" {
			continue
		}
		if w, ok := c.resolver.watches(p.pid, fd); ok {
			r.Watches = append(r.Watches, w)
		}
	}
}

func trimLine(s string) string {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		return s[:n-1]
	}
	return s
}

// finish gives the process's part of the evidence. Threads that were not there at
// the last look have exited, and say nothing of who is to accept.
func (p *processLooks) finish(lastLook int) diagnose.Process {
	r := p.result
	r.ThreadCount = p.count
	var cpu time.Duration
	var faults uint64
	for _, tid := range slices.Sorted(maps.Keys(p.threads)) {
		if p.threads[tid].look != lastLook {
			continue
		}
		t := p.threads[tid].result(tid)
		cpu += t.Run.Or(0)
		faults += t.Faults.Or(0)
		r.Threads = append(r.Threads, t)
	}
	if len(r.Threads) > 0 {
		r.CPU, r.MajorFaults = diagnose.Known(cpu), diagnose.Known(faults)
	}
	return r
}
