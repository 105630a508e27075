// Package probe watches accept queues in the kernel: features -> plan -> load
// -> attach -> read. Everything it puts into the kernel is held by descriptors
// of this process alone, so nothing stays behind, however the process ends.
package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/preflight"
)

const (
	// readEvery is how long Read lets events gather. The kernel does not wake
	// user space for an event, which would cost more than making it.
	readEvery = 50 * time.Millisecond
	// sampleEvery is the resolution of waits in restricted mode.
	sampleEvery = 100 * time.Millisecond
	// recordSize is what an event takes in the ring, with its header
	// (BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h).
	recordSize = event.Size + 8
)

// Tracer is attached from Open to Close. Its methods are for one goroutine.
type Tracer struct {
	plan  *Plan
	coll  *loaded
	links []attached // referenced, or the garbage collector detaches them
	ring  *ringbuf.Reader
	walk  *walker // nil: socket iterators do not work here

	record    ringbuf.Record
	event     event.Event
	undecoded uint64 // records that could not be decoded

	began   int64 // ns: when attaching what counts who enters the queues began
	canary  Canary
	blocked *blockedThreads // nil: there are none
	unseen  uint64          // processes whose blocked threads are not known
	beyond  uint64          // such threads that there was no room for

	lookedForBlocked bool
	mptcp            bool  // an MPTCP listener was met
	mptcpErr         error // its hook could not be attached
	walks            walks
	failed           failedAccepts
	forgot           time.Time // when ended processes and threads were looked for
	pruned           time.Time // the same, of threads in calls of accept()
	sampler          *sampler  // restricted mode only
	frugal           bool      // it samples so rarely that it costs little
	counts           counts
}

// Open attaches in the best mode that works, or in the forced one. The error
// wraps ErrUnsupported when no mode works here.
func Open(o Options) (*Tracer, error) {
	return openBest(preflight.Detect(), &o)
}

func openWith(features *preflight.Features, o *Options) (*Tracer, error) {
	plan, err := MakePlan(features, o.Mode)
	if err != nil {
		return nil, err
	}
	plan.Limits = append(plan.Limits, unseenWithout(capability.Effective())...)
	if o.Filter.Cgroup != 0 && !plan.probeRead {
		return nil, fmt.Errorf("filter by cgroup: it needs bpf_probe_read_kernel, which this host refuses (lockdown=confidentiality); choose listeners by --port, --pid or --comm: %w", ErrUnsupported)
	}
	coll, err := load(plan, o, chooseSizes(o, countListeners(), os.Getpagesize()))
	if err != nil {
		return nil, err
	}
	t := &Tracer{plan: plan, coll: coll, failed: newFailedAccepts(), frugal: o.Frugal}
	if t.counts, err = newCounts(coll.Collection); err != nil {
		coll.Close()
		return nil, err
	}
	if o.Frugal && plan.Mode == Restricted {
		plan.Limits = append(plan.Limits, fmt.Sprintf("with thousands of listeners waits are sampled more rarely, up to every %s, to take 1/%d of a CPU at most", rarest, frugalShare))
	}
	if err := t.start(o.fault); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if t.walk != nil {
		t.walk.only = o.Filter.NetNS // what is elsewhere would be filtered out one by one
	}
	return t, nil
}

func (t *Tracer) start(fault func(*hook) error) error {
	var err error
	if t.ring, err = ringbuf.NewReader(t.coll.Maps[tracingMapEvents]); err != nil {
		return fmt.Errorf("open event buffer: %w", err)
	}
	t.links, err = attach(t.plan, t.coll, fault)
	t.plan.types = nil // some MiB
	if err != nil {
		return err
	}
	t.began = t.plan.entryFrom(t.links)
	if t.plan.walk != "" {
		if t.walk, err = newWalker(t.coll.Programs[t.plan.walk]); err != nil {
			return err
		}
	}
	t.canary = t.runCanary()
	t.chooseCarrier()
	if t.plan.Mode == Restricted {
		t.sampler = newSampler()
		t.counts.addresses.off = true
	}
	return nil
}

// Mode is the mode in use.
func (t *Tracer) Mode() string { return string(t.plan.Mode) }

// Began is since when what enters the queues is counted, in ns of CLOCK_MONOTONIC,
// but for what entered in the milliseconds that attaching took: it is so early that
// nobody is counted who was queued before. 0: that is not counted.
func (t *Tracer) Began() int64 { return t.began }

// Why says in words why this mode is in use.
func (t *Tracer) Why() string { return t.plan.Why }

// Limits says what cannot be seen, a sentence each.
func (t *Tracer) Limits() []string { return t.plan.Limits }

// Missing are functions that the mode would hook and this kernel does not have.
func (t *Tracer) Missing() []preflight.Missing { return t.plan.Missing }

// Canary is what the connection that proves the hooks showed.
func (t *Tracer) Canary() Canary { return t.canary }

// Read waits up to 100 ms and calls fn for every event that is there, in the
// order in which the kernel made them. The event is valid until fn returns.
func (t *Tracer) Read(fn func(*event.Event)) error {
	if t.ring == nil {
		return errClosed
	}
	if t.ring.AvailableBytes() < t.ring.BufferSize()/8 {
		time.Sleep(readEvery)
	}
	if t.sampler != nil {
		return t.readSampled(fn)
	}
	if err := t.pruneCalls(time.Now()); err != nil {
		return err
	}
	if t.blocked != nil {
		if err := t.blocked.prune(time.Now()); err != nil {
			return err
		}
		if t.blocked.empty() {
			t.blocked = nil
		}
	}
	return t.drain(fn)
}

// drain reads what is in the ring now, and leaves what comes meanwhile: a
// reader that is slower than the events must come back to its other duties.
func (t *Tracer) drain(fn func(*event.Event)) error {
	t.ring.SetDeadline(time.Unix(1, 0))
	for now := t.ring.AvailableBytes(); now > 0; now -= recordSize {
		err := t.ring.ReadInto(&t.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read event buffer: %w", err)
		}
		if err := event.Decode(t.record.RawSample, &t.event); err != nil {
			t.undecoded++
			continue
		}
		if isCanary(t.event.Local.Addr()) {
			continue
		}
		switch e := &t.event; {
		case e.Kind == event.Listener && e.Flags&event.MPTCP != 0:
			t.followMPTCP()
		case e.Kind == event.AcceptError:
			if news, err := t.acceptFailed(e); err != nil {
				return err
			} else if !news {
				continue
			}
		}
		fn(&t.event)
	}
	return nil
}

// followMPTCP attaches the hook that other connections pay for too, once a
// listener is there that takes MPTCP.
func (t *Tracer) followMPTCP() {
	if t.mptcp {
		return
	}
	t.mptcp = true
	for _, h := range t.plan.hooks {
		if !h.forMPTCP {
			continue
		}
		a, err := t.coll.attach(t.plan, h)
		if err != nil {
			t.mptcpErr = err
			continue
		}
		t.links = append(t.links, a)
	}
}

// Walk writes the contents of all queues into the ring, as Listener and Queued
// events. What could not be entered is in the losses of the next Sample.
func (t *Tracer) Walk() error {
	if t.walk == nil {
		return nil
	}
	began := monotonic()
	if err := t.walk.run(); err != nil {
		return err
	}
	t.walks.done(began, t.walk.seen)
	if t.lookedForBlocked || t.plan.Mode == Restricted {
		return nil
	}
	// The first walk made the entries that blocked threads are tied to.
	t.lookedForBlocked = true
	return t.findBlocked()
}

// Sample reads the counts. With waits it reads the histograms too, 4 KiB for
// each listener that has accepted.
func (t *Tracer) Sample(waits bool) (*listener.Sample, error) {
	if t.coll == nil {
		return nil, errClosed
	}
	if err := t.counts.forget(&t.walks); err != nil {
		return nil, err
	}
	s, err := t.counts.read(waits)
	if err != nil {
		return nil, err
	}
	if s.AcceptErrors, err = t.acceptErrors(); err != nil {
		return nil, err
	}
	if t.sampler != nil {
		t.sampler.fill(s)
	}
	s.Losses = t.losses()
	return s, nil
}

// Close detaches everything.
func (t *Tracer) Close() error {
	var errs []error
	errs = append(errs, detach(t.links))
	t.links = nil
	if t.walk != nil {
		errs = append(errs, t.walk.close())
		t.walk = nil
	}
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
		t.ring = nil
	}
	if t.coll != nil {
		t.coll.Close()
		t.coll = nil
	}
	return errors.Join(errs...)
}
