package probe

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/ringbuf"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/preflight"
)

// Queues looks into accept queues, and attaches to nothing: a socket iterator is
// all that is in the kernel.
type Queues struct {
	t       *Tracer
	entries int
}

// NoWalkError says why queues cannot be walked.
type NoWalkError struct{ err error }

func (e *NoWalkError) Error() string { return "walk queues: " + e.err.Error() }

func (e *NoWalkError) Unwrap() []error { return []error{e.err, ErrUnsupported} }

// MostWalked bounds the memory of a walk: entries in all queues.
const MostWalked = 1 << 18

// BlindNamespaces is what a Loss of a Look says that is of network namespaces
// that could not be entered: of all others, nothing is missing.
const BlindNamespaces = "namespaces"

// ErrTooMany says that queues hold more than MostWalked entries, now.
var ErrTooMany = errors.New("they are too long")

// OpenQueues makes room for so many entries of queues, and for so many
// listeners that the filter selects by place: PIDs, Comms and Cgroup are not
// looked at. The error wraps ErrUnsupported if socket iterators do not work
// here, or not for so much.
func OpenQueues(f filter.Filter, entries, listeners int) (*Queues, error) {
	if entries > MostWalked {
		return nil, &NoWalkError{fmt.Errorf("%w: they hold %d entries, and there is room for %d", ErrTooMany, entries, MostWalked)}
	}
	features := preflight.DetectWalk()
	if err := working("eBPF", features.RingBuf, "BTF type information", features.BTF, "socket iterators", features.IterTCP); err != nil {
		return nil, &NoWalkError{err}
	}
	plan := &Plan{walk: walkProgram(features), probeRead: features.ProbeRead.OK(), types: features.Types}
	f.PIDs, f.Comms, f.Cgroup = nil, nil, 0
	// More may come before the walk does.
	room := entries + entries/8 + 2*listeners + 256
	o := Options{Filter: f, RingSize: recordSize * room, Listeners: 2*listeners + 256}
	size := chooseSizes(&o, listeners, os.Getpagesize())
	size.histograms = firstHistogram + 1
	size.walkOnly = true
	coll, err := load(plan, &o, size)
	plan.types = nil
	if err != nil {
		return nil, err
	}
	q := &Queues{t: &Tracer{plan: plan, coll: coll, lookedForBlocked: true}, entries: entries}
	if err := q.start(f.NetNS); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// start walks one network namespace, by its inode; 0: all.
func (q *Queues) start(netns uint32) (err error) {
	if q.t.ring, err = ringbuf.NewReader(q.t.coll.Maps[tracingMapEvents]); err != nil {
		return fmt.Errorf("open event buffer: %w", err)
	}
	if q.t.walk, err = newWalker(q.t.coll.Programs[q.t.plan.walk]); err != nil {
		return err
	}
	q.t.walk.only = netns
	return nil
}

// Entries is how many entries it made room for.
func (q *Queues) Entries() int { return q.entries }

// Look calls fn for every listener, as an event of kind Listener, followed by
// the entries of its queue, as events of kind Queued, the oldest first. The
// event is valid until fn returns. The losses are what was not seen.
func (q *Queues) Look(fn func(*event.Event)) ([]listener.Loss, error) {
	if q.t.ring == nil {
		return nil, errClosed
	}
	before := q.t.lostInRing()
	if err := q.t.Walk(); err != nil {
		return nil, err
	}
	if err := q.t.drain(fn); err != nil {
		return nil, err
	}
	var losses []listener.Loss
	if lost := q.t.lostInRing() - before; lost > 0 {
		what, text := lossWords(tracingLossLOSS_WALK_ENTRIES)
		losses = append(losses, listener.Loss{What: what, Text: text, Count: lost})
	}
	if blind := len(q.t.walk.blind); blind > 0 {
		losses = append(losses, listener.Loss{What: BlindNamespaces, Count: uint64(blind),
			Text: fmt.Sprintf("network namespace[|s] could not be walked, and what waits there is not listed (%v)", q.t.walk.lastError)})
	}
	return losses, nil
}

// Close takes the iterator out of the kernel.
func (q *Queues) Close() error { return q.t.Close() }
