package cli

import (
	"cmp"
	"context"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/metrics"
)

const restricted = listener.Restricted

// source is where events and counts come from: the probe, a recording, or a
// test. Its methods are called from one goroutine.
type source interface {
	// Mode is "fentry", "kprobe" or "restricted".
	Mode() string

	// Limits says in words what this mode cannot see, a sentence each.
	Limits() []string

	// Read calls fn for everything pending, in ring order, and returns within
	// about 100 ms. The event is valid until fn returns.
	Read(fn func(*event.Event)) error

	// Walk makes the contents of all queues arrive as Listener and Queued
	// events in the next Read.
	Walk() error

	// Sample reads the counts; waits asks for the histograms too, which cost
	// more. The last counts of a closed listener are in one sample only.
	Sample(waits bool) (*listener.Sample, error)

	Close() error
}

// sourceOptions is what a command needs of its source.
type sourceOptions struct {
	Mode    string        // to force one; empty: the best that works
	Filter  filter.Filter // PIDs and Comms take effect by SetHeld
	MinWait time.Duration // accepted connections that waited less need no event
	Kinds   []event.Kind  // that events are wanted of; nil: all
	Frugal  bool          // what is sampled, is so rarely enough to cost little
	// Room is for how many listeners there is to be room at least, and for their
	// histograms.
	Room int
}

// openSource attaches. An error that wraps fs.ErrPermission or
// errors.ErrUnsupported, or that unavailable made, exits with 3.
type openSource func(ctx context.Context, options sourceOptions) (source, error)

// beginner is a source that knows since when it counts what enters the queues.
type beginner interface {
	Began() int64 // ns, CLOCK_MONOTONIC; 0: since it was opened
}

// begun is since when a source counts that has just been opened, in ns.
func begun(src source, now int64) int64 {
	if b, ok := src.(beginner); ok {
		return cmp.Or(b.Began(), now)
	}
	return now
}

// explainer is a source that knows why it is in its mode.
type explainer interface {
	Why() string // in words: "BTF trampolines work here"
}

// costed is a source that knows what its programs in the kernel have cost.
type costed interface {
	Programs() []metrics.Program
}

// losing is a source that knows what it can lose, by listener.Loss.What.
type losing interface {
	LossKinds() []string
}

// holder is a source that follows the listeners of processes: it is told which
// these are, at the start and again and again.
type holder interface {
	SetHeld([]heldSocket) error
}

// heldSocket is a listening socket of a process that the filter names.
type heldSocket struct {
	Inode uint32
	NetNS uint32
	Port  uint16
}
