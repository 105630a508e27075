// Package collect gathers the evidence for package diagnose: what the threads of
// the processes that hold a listening socket do, from /proc, cgroupfs and
// sock_diag. It only reads, and stops nobody.
//
// The cost is bounded by Options: a look at one thread is five to eight small
// files, 0.16 ms (BenchmarkLook), so 512 threads at most and 12 looks take 1 s of
// CPU time, on one CPU, whatever the span; a server of 10 threads takes 20 ms.
// Two things grow with the server's connections, and are read few times: the list
// of an epoll set that a thread waits in, once, 79 bytes for each, for which its
// own calls of epoll_ctl wait; and the namespace's sockets, three times at most.
package collect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/stacks"
)

// MaxThreads is how many threads are looked at if nothing else is asked for.
const MaxThreads = 512

// Options are the settings of a collection; zero values mean the defaults.
type Options struct {
	Span         time.Duration // from the first look to the last; default 3 s
	MaxThreads   int           // looked at; default MaxThreads
	MaxProcesses int           // default 64
	Mode         string        // how the kernel is watched meanwhile
	Identities   *owner.Identities
	// Stacks are taken too, by eBPF, if that is possible: of the threads at the
	// first look off the CPU, of all of them on it.
	Stacks bool
}

func (o *Options) setDefaults() {
	if o.Span <= 0 {
		o.Span = 3 * time.Second
	}
	if o.MaxThreads <= 0 {
		o.MaxThreads = MaxThreads
	}
	if o.MaxProcesses <= 0 {
		o.MaxProcesses = 64
	}
	if o.Identities == nil {
		o.Identities = owner.NewIdentities(owner.Scanner{})
	}
}

// looksIn is how many looks are made in a span: four a second, from 5 to 12.
func looksIn(span time.Duration) int {
	return min(max(int(4*span/time.Second), 5), 12)
}

// collector gathers the evidence of one listener.
type collector struct {
	opt      Options
	listener Listener
	proc     procFS
	cgroups  cgroupFS
	resolver resolver

	looks           int
	lookedAt        int // threads, in this look
	refused         int // system calls that could not be read
	delayAccounting bool
	processes       []*processLooks
	groups          map[string]diagnose.Cgroup // at the first look
	memberships     map[string]string
}

// Run watches the processes that hold a listener for the span, which ends early
// when until does. Who these are is given.
func Run(until context.Context, l Listener, holders []owner.Process, opt Options) *diagnose.Evidence {
	opt.setDefaults()
	return newCollector(context.WithoutCancel(until), l, opt, "/proc", "/sys/fs/cgroup").run(until, holders)
}

func (c *collector) run(until context.Context, holders []owner.Process) *diagnose.Evidence {
	ctx := context.WithoutCancel(until) // what was seen by then is told
	l := &c.listener
	e := &diagnose.Evidence{Listener: l.Address.String(), Inode: l.Inode, Mode: c.opt.Mode}
	if l.NS != nil {
		e.NetNS = l.NS.Inode
	}
	begun := time.Now()
	before, queueErr := lookAtQueue(ctx, l)
	system := c.proc.system()
	for _, p := range holders[:min(len(holders), c.opt.MaxProcesses)] {
		c.processes = append(c.processes, c.newProcess(p))
	}
	c.lookAtGroups()

	sampler := c.watch(until, e, begun)
	// What grew is measured in the span; the rest takes time of its own.
	e.Span, e.Looks, e.Time = time.Since(begun), c.looks, monotonic()
	e.System = systemSince(c.proc.system(), system)
	for path, group := range c.groups {
		e.Cgroups = append(e.Cgroups, cgroupSince(c.cgroups.group(path, c.memberships[path]), group))
	}
	slices.SortFunc(e.Cgroups, func(a, b diagnose.Cgroup) int { return strings.Compare(a.Path, b.Path) })
	after, err := lookAtQueue(ctx, l)
	if queueErr == nil {
		queueErr = err
	}
	if queueErr == nil {
		e.Queue = queueOf(&before, &after)
	}
	e.Queue.Somaxconn = somaxconn(l)
	for _, p := range c.processes {
		c.describe(p)
		if c.still(p) {
			e.Processes = append(e.Processes, p.finish(c.looks))
		}
	}
	if sampler != nil {
		c.addStacks(ctx, sampler, e)
	}
	e.Unseen = len(holders) - len(c.processes)
	c.blind(e, len(holders), queueErr)
	return e
}

func newCollector(ctx context.Context, l Listener, opt Options, proc procFS, cgroups cgroupFS) *collector {
	c := &collector{
		opt: opt, listener: l, proc: proc, cgroups: cgroups,
		groups: make(map[string]diagnose.Cgroup), memberships: make(map[string]string),
	}
	c.resolver = resolver{proc: proc, listener: l.Inode, watching: make(map[descriptor]diagnose.Maybe[diagnose.Watch]), sockets: &sockets{
		ctx: ctx, ns: l.NS, proc: proc, local: l.Address, known: make(map[uint32]diagnose.Target),
	}}
	text, ok := fileText(string(proc), "sys/kernel/task_delayacct")
	c.delayAccounting = ok && strings.TrimSpace(text) == "1"
	return c
}

func sleep(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func monotonic() int64 {
	var now unix.Timespec
	// It cannot fail: the clock exists and the pointer is good.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// watch looks at the threads again and again in the span, at its end too. The
// sampler of their stacks, if there is one, is still at work.
func (c *collector) watch(until context.Context, e *diagnose.Evidence, begun time.Time) (sampler *stacks.Sampler) {
	c.lookAtAll()
	if c.opt.Stacks {
		sampler = c.takeStacks(until, e)
	}
	looks := looksIn(c.opt.Span)
	for i, goesOn := 1, true; i < looks && goesOn; i++ {
		goesOn = sleep(until, begun.Add(c.opt.Span*time.Duration(i)/time.Duration(looks-1)))
		c.lookAtAll()
	}
	return sampler
}

func (c *collector) lookAtAll() {
	c.lookedAt = 0
	for _, p := range c.processes {
		c.lookAtThreads(p)
	}
	c.looks++
}

func (c *collector) lookAtGroups() {
	for _, p := range c.processes {
		path := p.result.Cgroup
		if _, known := c.groups[path]; known {
			continue
		}
		membership, ok := c.proc.text(p.pid, "cgroup")
		if !ok {
			continue
		}
		c.memberships[path] = membership
		c.groups[path] = c.cgroups.group(path, membership)
	}
}

// still says that the process is the one that was found.
func (c *collector) still(p *processLooks) bool {
	text, ok := c.proc.text(p.pid, "stat")
	stat, parsed := parseStat(text)
	return ok && parsed && stat.startTime == p.startTime
}

// blind says what could not be seen.
func (c *collector) blind(e *diagnose.Evidence, holders int, queueErr error) {
	say := func(format string, args ...any) { e.Blind = append(e.Blind, fmt.Sprintf(format, args...)) }
	if queueErr != nil {
		say("the queue could not be looked at by sock_diag: %v", queueErr)
	}
	if holders > len(c.processes) {
		say("%d processes hold the listener, of which only %d were looked at", holders, len(c.processes))
	}
	denied, threads := 0, 0
	for _, p := range c.processes {
		if p.denied {
			denied++
		}
		threads += max(0, p.count-len(p.threads))
	}
	if denied > 0 || c.refused > 0 {
		why := "it needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root"
		if capability.Root(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH) {
			why = capability.EvenRoot
		}
		say("the system calls or descriptors of %s may not be read: %s", quantity.Plural(max(denied, 1), "process"), why)
	}
	if threads > 0 {
		say("%s not looked at: the limit is %d", quantity.Of(threads, "more thread[ was|s were]"), c.opt.MaxThreads)
	}
}
