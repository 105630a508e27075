package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/stacks"
	"acceptwatch/internal/symbol"
)

// Bounds of what is kept of stacks.
const (
	mostStacks = 8  // of a thread, on the CPU and off it
	mostFrames = 32 // of a stack
	// namingTime is how long functions may be named, by files of a process that
	// may be hostile.
	namingTime = 2 * time.Second
)

// takeStacks begins to take the stacks of all threads that were found. If that
// is not possible here it says so in the evidence's Blind.
func (c *collector) takeStacks(ctx context.Context, e *diagnose.Evidence) *stacks.Sampler {
	var o stacks.Options
	for _, p := range c.processes {
		o.Processes = append(o.Processes, p.pid)
		for tid := range p.threads {
			o.Threads = append(o.Threads, tid)
		}
	}
	if len(o.Threads) == 0 {
		return nil
	}
	s, err := stacks.Start(ctx, o)
	if err != nil {
		e.Blind = append(e.Blind, "functions are not named, as stacks cannot be taken: "+reasonOf(err))
		return nil
	}
	return s
}

// reasonOf is the first reason why stacks are not available, which they mostly
// share.
func reasonOf(err error) string {
	if u := new(stacks.Unavailable); errors.As(err, &u) {
		return u.Reason
	}
	return err.Error()
}

// addStacks ends the taking of stacks, and gives the threads theirs.
func (c *collector) addStacks(ctx context.Context, s *stacks.Sampler, e *diagnose.Evidence) {
	naming, stop := context.WithTimeout(ctx, namingTime)
	defer stop()
	profile, err := s.Read(naming)
	if closing := s.Close(); err == nil {
		err = closing
	}
	if err != nil {
		e.Blind = append(e.Blind, "functions are not named: "+err.Error())
		return
	}
	for _, u := range profile.Missing {
		e.Blind = append(e.Blind, "stacks "+string(u.Part)+" are missing: "+u.Reason)
	}
	e.Blind = append(e.Blind, unseen(profile)...)
	of := make(map[int]*stacks.Thread, len(profile.Threads))
	for i := range profile.Threads {
		of[profile.Threads[i].TID] = &profile.Threads[i]
	}
	for i := range e.Processes {
		threads := e.Processes[i].Threads
		for j := range threads {
			if t := of[threads[j].TID]; t != nil {
				threads[j].OnCPU, threads[j].OffCPU = stacksOf(t)
			}
		}
	}
}

// unseen says what a profile lacks.
func unseen(p *stacks.Profile) []string {
	var list []string
	if n := p.Lost.Samples + p.Lost.Stacks; n > 0 {
		list = append(list, quantity.Plural(n, "stack")+" found no room: the most frequent function may be another one")
	}
	if len(p.Unnamed) > 0 {
		text := "some functions are not named: " + strings.ReplaceAll(p.Unnamed[0], "\n", "; ")
		if n := len(p.Unnamed); n > 1 {
			text += fmt.Sprintf(" (one of %d reasons)", n)
		}
		list = append(list, text)
	}
	return list
}

// stacksOf are a thread's stacks on the CPU, the most frequent first, and off it,
// the longest first.
func stacksOf(t *stacks.Thread) (on, off []diagnose.Stack) {
	for i := range t.Samples {
		s := &t.Samples[i]
		frames := append(framesOf(s.Kernel, true), framesOf(s.User, false)...)
		if len(frames) == 0 {
			continue
		}
		stack := diagnose.Stack{Count: s.Count, Time: s.Duration, Frames: frames[:min(len(frames), mostFrames)],
			Truncated: s.Truncated || len(frames) > mostFrames}
		if s.State == stacks.Running {
			on = append(on, stack)
		} else {
			off = append(off, stack)
		}
	}
	slices.SortStableFunc(on, func(a, b diagnose.Stack) int { return cmp.Compare(b.Count, a.Count) })
	slices.SortStableFunc(off, func(a, b diagnose.Stack) int { return cmp.Compare(b.Time, a.Time) })
	return on[:min(len(on), mostStacks)], off[:min(len(off), mostStacks)]
}

func framesOf(list []symbol.Frame, kernel bool) []diagnose.Frame {
	frames := make([]diagnose.Frame, 0, len(list))
	for i := range list {
		f := &list[i]
		frames = append(frames, diagnose.Frame{Function: f.Function, Module: f.Module, Offset: f.Offset, Kernel: kernel})
	}
	return frames
}
