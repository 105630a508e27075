package stacks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/symbol"
)

// seen is a sample without names.
type seen struct {
	pid, tid int
	Sample
	user, kernel []uint64
	cut          bool // user was deeper than what is kept
}

// Read returns what was seen since the start; it takes nothing away. It names
// functions, which can take a second the first time for programs with hundreds
// of thousands of them; when the context ends, the others stay without names. It
// must not be called by two goroutines at a time.
func (s *Sampler) Read(ctx context.Context) (*Profile, error) {
	p := &Profile{Time: time.Since(s.started), Missing: s.missing, Threads: []Thread{}}
	if len(s.events) > 0 {
		p.Frequency = s.options.Frequency
	}
	var all []seen
	if len(s.loaded) > 0 {
		var err error
		if all, err = s.counted(); err != nil {
			return nil, fmt.Errorf("read stacks: %w", err)
		}
		if p.Lost, err = s.lost(); err != nil {
			return nil, fmt.Errorf("read how many stacks were lost: %w", err)
		}
	}
	still, err := s.still()
	if err != nil {
		return nil, fmt.Errorf("read where threads sleep: %w", err)
	}
	all = append(all, still...)
	p.Unnamed = s.name(ctx, all)
	p.Threads = threadsOf(all)
	return p, nil
}

// counted reads what the programs have counted.
func (s *Sampler) counted() ([]seen, error) {
	var all []seen
	var key kernelStackKey
	var count kernelStackCount
	entries := s.maps()[kernelMapStackCounts].Iterate()
	for entries.Next(&key, &count) {
		e := seen{pid: int(key.Tgid), tid: int(key.Tid), Sample: Sample{
			State: stateOf(key.State), Count: count.Count, Duration: time.Duration(count.Duration),
		}}
		if err := s.addStacks(&e, key.User, key.Kernel); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, entries.Err()
}

// addStacks looks up the stacks of two numbers; a negative one means none.
func (s *Sampler) addStacks(e *seen, user, kernel int32) error {
	var err error
	if e.user, e.cut, err = s.stack(user); err != nil {
		return err
	}
	if user < 0 && e.State != Runnable {
		e.cut = true // it found no room
	}
	e.kernel, _, err = s.stack(kernel)
	return err
}

func (s *Sampler) stack(id int32) (addrs []uint64, cut bool, err error) {
	if id < 0 {
		return nil, false, nil
	}
	m := s.maps()[kernelMapStacks]
	addrs = make([]uint64, m.ValueSize()/8)
	if err := m.Lookup(uint32(id), addrs); err != nil {
		return nil, false, fmt.Errorf("look up stack %d: %w", id, err)
	}
	if end := slices.Index(addrs, 0); end >= 0 {
		return addrs[:end], false, nil
	}
	return addrs, true, nil
}

func (s *Sampler) lost() (Lost, error) {
	var kernel [kernelStackLossSTACK_LOSS_KINDS]uint64
	err := s.loaded[0].Variables[kernelVarStackLosses].Get(&kernel)
	return Lost{
		Samples: kernel[kernelStackLossSTACK_LOSS_COUNTS_FULL],
		Stacks:  kernel[kernelStackLossSTACK_LOSS_STACKS_FULL],
	}, err
}

// still are the threads that are off the CPU now.
func (s *Sampler) still() ([]seen, error) {
	var all []seen
	var unmoved []thread
	for _, t := range s.threads {
		e, moved, err := s.away(t)
		switch {
		case err != nil:
			return nil, err
		case e != nil:
			all = append(all, *e)
		case !moved:
			unmoved = append(unmoved, t)
		}
	}
	return append(all, s.asleep(unmoved)...), nil
}

// away returns where a thread left the CPU that it has not come back to. moved
// says whether it was seen to make any switch.
func (s *Sampler) away(t thread) (e *seen, moved bool, err error) {
	if s.switches == nil {
		return nil, false, nil
	}
	state, err := s.threadState(t)
	if err != nil || state.Since == 0 {
		return nil, state.Switches > 0, err
	}
	e = &seen{pid: t.pid, tid: t.tid, Sample: Sample{
		State: stateOf(state.State), Count: 1, Now: true,
		Duration: max(0, monotonic()-time.Duration(state.Since)),
	}}
	return e, true, s.addStacks(e, state.User, state.Kernel)
}

// threadState reads an entry that the program changes meanwhile.
func (s *Sampler) threadState(t thread) (kernelThread, error) {
	m := s.maps()[kernelMapThreads]
	var before, state kernelThread
	for range 10 {
		err := errors.Join(m.Lookup(uint32(t.tid), &before), m.Lookup(uint32(t.tid), &state))
		if err != nil || before == state {
			return state, err
		}
	}
	state.Since = 0 // it is busy, not away
	return state, nil
}

// monotonic is the clock of bpf_ktime_get_ns.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// name fills in the frames, and returns why some have no name.
func (s *Sampler) name(ctx context.Context, all []seen) []string {
	var unnamed []string
	users := map[int][]*seen{}
	kernel := make([][]uint64, len(all))
	for i := range all {
		users[all[i].pid] = append(users[all[i].pid], &all[i])
		kernel[i] = all[i].kernel
	}
	named, err := s.symbols.Kernel(kernel)
	if err != nil {
		unnamed = append(unnamed, err.Error())
	}
	for i := range all {
		if len(all[i].kernel) > 0 {
			all[i].Kernel = named[i]
		}
		if all[i].State != Running {
			all[i].Kernel = withoutScheduler(all[i].Kernel)
		}
	}
	for pid, list := range users {
		addrs := make([][]uint64, len(list))
		for i, e := range list {
			addrs[i] = e.user
		}
		stacks, err := s.nameUser(ctx, pid, addrs)
		if err != nil {
			unnamed = append(unnamed, err.Error())
		}
		for i, e := range list {
			e.User, e.Truncated = stacks[i].Frames, stacks[i].Truncated || e.cut
		}
	}
	slices.Sort(unnamed)
	return unnamed
}

// nameUser gives an exited process's frames their addresses only: its pid may
// be another's.
func (s *Sampler) nameUser(ctx context.Context, pid int, addrs [][]uint64) ([]symbol.Stack, error) {
	if !s.alive(pid) {
		return symbol.Addresses(addrs), fmt.Errorf("name functions of process %d: it has exited", pid)
	}
	return s.symbols.User(ctx, pid, addrs)
}
