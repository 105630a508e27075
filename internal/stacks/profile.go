package stacks

import (
	"time"

	"acceptwatch/internal/symbol"
)

// Profile is what was seen since the start.
type Profile struct {
	// Time is how long that is.
	Time      time.Duration `json:"time_ns"`
	Frequency int           `json:"frequency,omitempty"` // samples a second, on the CPU; 0: none were taken
	Threads   []Thread      `json:"threads"`             // by process and thread id
	Lost      Lost          `json:"lost"`

	// Missing are the parts that are not available here.
	Missing []*Unavailable `json:"missing,omitempty"`
	// Unnamed says why functions have no names, a sentence each.
	Unnamed []string `json:"unnamed,omitempty"`
}

// Lost counts what found no room.
type Lost struct {
	Samples uint64 `json:"samples"` // beyond Options.Counts: not in the profile
	Stacks  uint64 `json:"stacks"`  // user or kernel stacks beyond Options.Stacks: counted, without frames
}

// Thread is what one thread did.
type Thread struct {
	PID     int      `json:"pid"`
	TID     int      `json:"tid"`
	Comm    string   `json:"comm,omitempty"` // of the thread; empty if it has exited
	Samples []Sample `json:"samples"`        // the longest first, then the most frequent
}

// State is what a thread was doing at its stack.
type State string

// The states, of which all but Running are off the CPU.
const (
	Running   State = "running"
	Runnable  State = "runnable" // it wants the CPU, which another thread has; without stacks
	Sleeping  State = "sleeping" // a signal wakes it
	Disk      State = "disk"     // no signal wakes it: mostly I/O, or a lock of the kernel
	Stopped   State = "stopped"  // by SIGSTOP, a debugger or a freezer
	Exited    State = "exited"
	OtherWait State = "other"
)

// Sample is one stack of a thread.
type Sample struct {
	State State `json:"state"`
	// Count is how often: ticks of the clock if Running, else times that it left
	// the CPU.
	Count uint64 `json:"count"`
	// Duration is the sum of the times off the CPU.
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Now says that it was still there when the profile was read, and AtLeast
	// that it was before the start: Duration is what was seen of it.
	Now     bool `json:"now,omitempty"`
	AtLeast bool `json:"at_least,omitempty"`

	User []symbol.Frame `json:"user,omitempty"` // the leaf first; of a system call, its place
	// Truncated says that User does not reach the start of the thread.
	Truncated bool           `json:"truncated,omitempty"`
	Kernel    []symbol.Frame `json:"kernel,omitempty"` // the leaf first, without the scheduler's own
}

// The bits of task_struct.state (include/linux/sched.h).
const (
	taskInterruptible   = 0x1
	taskUninterruptible = 0x2
	taskStopped         = 0x4
	taskTraced          = 0x8
	taskDead            = 0x80
	taskFrozen          = 0x8000 // from 6.1 on
)

// stateOf reads the state in which a thread left the CPU.
func stateOf(bits uint32) State {
	switch {
	case bits == uint32(kernelStackStateSTATE_ON_CPU):
		return Running
	case bits == 0:
		return Runnable
	case bits&(taskStopped|taskTraced|taskFrozen) != 0:
		return Stopped
	case bits&taskDead != 0:
		return Exited
	case bits&taskInterruptible != 0:
		return Sleeping
	case bits&taskUninterruptible != 0:
		return Disk
	}
	return OtherWait
}

// stateOfLetter reads the state in /proc/PID/stat (task_state_array,
// fs/proc/array.c).
func stateOfLetter(letter byte) State {
	switch letter {
	case 'S':
		return Sleeping
	case 'D':
		return Disk
	case 'T', 't':
		return Stopped
	case 'X', 'Z':
		return Exited
	case 'R':
		return Running
	}
	return OtherWait
}
