// Package stacks takes stacks of chosen threads: what they do on the CPU, where
// they left it, and where they sleep since before it looked. It is evidence of
// why nobody calls accept, costs something while it runs, and is optional: each
// of its three parts can be refused by a kernel, which is told and is no error
// while another part works.
//
//   - On the CPU: a software clock of each CPU runs a program, which counts the
//     stacks of the given processes' threads, those that start later too, and of
//     no other's. (One event a CPU, not one a thread: it needs no descriptor for
//     each of them, and misses no new one.)
//   - Off the CPU: a program on the tracepoint sched_switch, which tests the id of
//     the thread first, notes the stack of the given threads when they leave the
//     CPU, and for how long they stay away. On 5.10, 6.1, 6.12 and 7.3 it is
//     attached by its types (tp_btf).
//   - Blocked before the start: such a thread has made no switch. Its kernel stack
//     is in /proc/TID/stack and where it called from in /proc/TID/syscall. No
//     kernel walks the user stack of another thread (bpf_get_task_stack refuses
//     it from 6.8 on, and follows frame pointers in the wrong process before). So an iterator over tasks reads the
//     thread's frame pointer (bpf_task_pt_regs, 5.15), and the chain is followed in
//     /proc/PID/mem. Before 5.15 the place of the call is all there is.
//
// What it costs the kernel, in instructions on 6.12.118 and on 7.3.4 (make
// bench-kernel): 133 and 281 a switch of threads that are not watched, of which an
// empty program is 109 and 240; 4,387 and 4,372 a switch of a watched one; 3,248
// and 3,005 a sample on the CPU, 1,568 and 1,380 a tick that finds others there.
//
// lockdown=confidentiality takes none of it away: on 6.12 and 7.3 all three work
// under it, as no program reads by probe.
//
// User stacks follow frame pointers: see [symbol.Stack] for what that is worth. On
// arm64, C compilers leave them out of functions that call nothing, which hides
// the caller of the leaf; the leaf itself is right.
// Process and thread ids are those of the first pid namespace; where acceptwatch
// runs in another one, [Start] says so.
//
// Memory is bounded by [Options]: what finds no room is counted as lost.
package stacks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"acceptwatch/internal/symbol"
)

// Options say whose stacks to take. Only what is asked for is loaded.
type Options struct {
	// Processes are sampled on the CPU, all of their threads.
	Processes []int
	// Threads are watched when they leave the CPU, by thread id.
	Threads []int
	// Frequency is how often a second each CPU is looked at; 0: 99, which does not
	// beat with what happens 100 times a second.
	Frequency int
	// Stacks is how many different stacks are kept, 1 KiB each; 0: 16384. They
	// are found by a hash without room for collisions: of a thousand, about 30 are lost.
	Stacks int
	// Counts is how many combinations of thread, user and kernel stack, and
	// state are counted, about 100 bytes each; 0: 8192.
	Counts int
}

const (
	defaultFrequency = 99
	defaultStacks    = 16384
	defaultCounts    = 8192
)

// Part is one of the ways by which stacks are taken.
type Part string

// The parts, as in the package comment.
const (
	OnCPU   Part = "on-cpu"
	OffCPU  Part = "off-cpu"
	Blocked Part = "blocked before the start"
)

// Unavailable says that stacks cannot be taken here by one of the ways.
type Unavailable struct {
	Part   Part   `json:"part"`
	Reason string `json:"reason"` // one sentence: why, and what to do
	Err    error  `json:"-"`
}

func (u *Unavailable) Error() string { return fmt.Sprintf("stacks %s: %s", u.Part, u.Reason) }
func (u *Unavailable) Unwrap() error { return u.Err }

// Sampler is attached until it is closed.
type Sampler struct {
	options   Options
	started   time.Time
	object    *ebpf.CollectionSpec
	types     *btf.Cache         // of the kernel, for all programs
	loaded    []*ebpf.Collection // the maps, then each program
	events    []*os.File         // of the clock, one a CPU
	switches  link.Link
	registers *link.Iter
	threads   []thread
	processes map[int]*os.File // pidfds
	missing   []*Unavailable
	symbols   *symbol.Symbolizer
}

// Start attaches what is asked for. A part that is not available is told in
// each [Profile]; if none is, the error holds an [Unavailable] for each. When
// the context ends during the start, everything is taken away again; later it
// has no effect.
func Start(ctx context.Context, o Options) (*Sampler, error) {
	o = o.withDefaults()
	if len(o.Processes) == 0 && len(o.Threads) == 0 {
		return nil, errors.New("take stacks: no process and no thread is named")
	}
	s := &Sampler{options: o, started: time.Now(), symbols: symbol.New()}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	for _, number := range []struct {
		of      *int
		instead int
	}{{&o.Frequency, defaultFrequency}, {&o.Stacks, defaultStacks}, {&o.Counts, defaultCounts}} {
		if *number.of <= 0 {
			*number.of = number.instead
		}
	}
	return o
}

func (s *Sampler) start(ctx context.Context) error {
	if err := inFirstNamespace(); err != nil {
		return err
	}
	s.threads = findThreads(s.options.Threads)
	s.processes = openProcesses(&s.options, s.threads)
	parts := s.parts()
	if err := s.loadMaps(); err != nil {
		for _, p := range parts {
			s.missing = append(s.missing, unavailable(p.Part, err))
		}
		parts = nil
	}
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.attach(); err != nil {
			s.missing = append(s.missing, unavailable(p.Part, err))
		}
	}
	// What is in /proc of a thread needs no program.
	if len(s.events) > 0 || s.switches != nil || len(s.threads) > 0 {
		return nil
	}
	if len(s.missing) == 0 {
		return errors.New("take stacks: none of the threads exists")
	}
	return joined(s.missing)
}

func joined(missing []*Unavailable) error {
	errs := make([]error, len(missing))
	for i, u := range missing {
		errs[i] = u
	}
	return errors.Join(errs...)
}

// part is a way that is asked for, with how to begin it.
type part struct {
	Part
	attach func() error
}

func (s *Sampler) parts() []part {
	var parts []part
	if len(s.options.Processes) > 0 {
		parts = append(parts, part{OnCPU, s.attachClock})
	}
	if len(s.threads) > 0 {
		parts = append(parts, part{OffCPU, s.attachSwitches}, part{Blocked, s.attachRegisters})
	}
	return parts
}

// Close takes everything out of the kernel.
func (s *Sampler) Close() error {
	var errs []error
	errs = append(errs, s.closeClock())
	if s.switches != nil {
		errs = append(errs, s.switches.Close())
	}
	if s.registers != nil {
		errs = append(errs, s.registers.Close())
	}
	for _, coll := range s.loaded {
		coll.Close()
	}
	for _, p := range s.processes {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
