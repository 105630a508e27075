package cli

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)

	testNetNS    = 4026531840
	testInode    = 4242
	testListener = 77
	testBacklog  = 128
)

// fakeKernel is a source with one listener, 127.0.0.1:8000, and a queue that a
// script fills and empties. Its clock goes on by 100 ms a Read.
type fakeKernel struct {
	now     int64 // ns; the clock of the whole test
	script  []action
	bound   netip.AddrPort
	backlog uint32

	queue   []event.Event // in it now: kind Queued
	pending []event.Event
	counts  listener.Counted
	deaths  listener.AtAddress
	waits   listener.Histogram
	losses  []listener.Loss
	failed  []listener.AcceptError
	left    bool // the listener has closed
	mode    string
	limits  []string
	closed  bool
}

// action is something that happens at a time.
type action struct {
	at int64 // ns
	do func(*fakeKernel)
}

func newFakeKernel(script ...action) *fakeKernel {
	bound := netip.MustParseAddrPort("127.0.0.1:8000")
	slices.SortStableFunc(script, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	key := listener.Key{NetNS: testNetNS, Addr: bound}
	return &fakeKernel{
		script: script, bound: bound, backlog: testBacklog, mode: "fentry",
		counts: listener.Counted{ID: testListener, Key: key, Family: 2, Inode: testInode, Backlog: testBacklog},
		deaths: listener.AtAddress{Key: key},
	}
}

func (k *fakeKernel) Mode() string     { return k.mode }
func (k *fakeKernel) Limits() []string { return k.limits }
func (k *fakeKernel) Why() string      { return "BTF trampolines work here" }
func (k *fakeKernel) Close() error     { k.closed = true; return nil }

func (k *fakeKernel) Read(fn func(*event.Event)) error {
	until := k.now + 100*ms
	for len(k.script) > 0 && k.script[0].at <= until {
		k.now = max(k.now, k.script[0].at)
		k.script[0].do(k)
		k.script = k.script[1:]
	}
	k.now = until
	for i := range k.pending {
		fn(&k.pending[i])
	}
	k.pending = k.pending[:0]
	return nil
}

func (k *fakeKernel) Walk() error {
	if k.left {
		return nil
	}
	k.pending = append(k.pending, event.Event{
		Kind: event.Listener, Time: k.now, ListenerID: testListener, NetNS: testNetNS, Local: k.bound,
		Depth: uint32(len(k.queue)), Backlog: k.backlog, Inode: testInode, Family: 2, State: event.Listening,
	})
	for _, e := range k.queue {
		e.Kind, e.Time, e.Depth, e.Backlog = event.Queued, k.now, uint32(len(k.queue)), k.backlog
		k.pending = append(k.pending, e)
	}
	return nil
}

func (k *fakeKernel) Sample(waits bool) (*listener.Sample, error) {
	counted := k.counts
	counted.Depth, counted.Closed = uint32(len(k.queue)), k.left
	if waits {
		counted.Waits = k.waits.Clone()
	}
	return &listener.Sample{
		Time: k.now, Listeners: []listener.Counted{counted},
		Addresses: []listener.AtAddress{k.deaths}, Losses: k.losses, AcceptErrors: slices.Clone(k.failed),
	}, nil
}

// enters queues a connection from a port.
func enters(at int64, port uint16) action {
	at += began
	return action{at, func(k *fakeKernel) {
		if len(k.queue) == 0 {
			k.counts.NonEmptySince = at
		}
		k.queue = append(k.queue, event.Event{
			Queued: at / 1000 * 1000, ListenerID: testListener, NetNS: testNetNS, Local: k.bound,
			Peer:         netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
			DepthAtEntry: uint32(len(k.queue)), Family: 2, State: event.Established, Unread: 77,
		})
		k.counts.Enqueued++
		k.counts.MaxDepth = max(k.counts.MaxDepth, uint32(len(k.queue)))
	}}
}

// refuses is a SYN, or the last ACK of a handshake, that finds the queue full.
func refuses(at int64, port uint16, flags event.Flags) action {
	at += began
	return action{at, func(k *fakeKernel) {
		k.pending = append(k.pending, event.Event{
			Kind: event.Overflow, Time: at, ListenerID: testListener, NetNS: testNetNS, Local: k.bound, Family: 2, Flags: flags,
			Peer: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Depth: uint32(len(k.queue)), Backlog: k.backlog,
		})
		if flags&event.LastACK != 0 {
			k.counts.OverflowACK++
		} else {
			k.counts.OverflowSYN++
		}
	}}
}

// fails is a process that called accept() in vain so many times, of which an
// event tells, at the test's listener or at one that is not known.
func fails(at int64, pid uint32, errno uint16, times uint32, known bool) action {
	at += began
	return action{at, func(k *fakeKernel) {
		e := event.Event{Kind: event.AcceptError, Time: at, PID: pid, TID: pid + 2, Errno: errno, FD: 3, Repeats: times}
		copy(e.Comm[:], "python3")
		of := listener.AcceptError{PID: pid, Comm: e.Comm, Errno: errno}
		if known {
			e.ListenerID, e.Inode, e.NetNS, e.Local, e.Family = testListener, testInode, testNetNS, k.bound, 2
			e.Depth, e.Backlog = uint32(len(k.queue)), k.backlog
			of.ListenerID, of.Inode, of.Key = testListener, testInode, k.counts.Key
		}
		k.pending = append(k.pending, e)
		i := slices.IndexFunc(k.failed, func(a listener.AcceptError) bool {
			return a.PID == pid && a.Errno == errno && a.ListenerID == of.ListenerID
		})
		if i < 0 {
			i = len(k.failed)
			k.failed = append(k.failed, of)
		}
		k.failed[i].Count += uint64(times)
		k.failed[i].Last = at
	}}
}

// closes is the end of the listener.
func closes(at int64) action {
	at += began
	return action{at, func(k *fakeKernel) {
		for len(k.queue) > 0 {
			e := k.queue[0]
			k.queue = k.queue[1:]
			e.Kind, e.Time, e.Depth, e.Backlog = event.Purged, at, uint32(len(k.queue)), k.backlog
			k.pending = append(k.pending, e)
			k.counts.Purged++
		}
		k.left = true
		k.pending = append(k.pending, event.Event{Kind: event.ListenerClosed, Time: at, ListenerID: testListener,
			NetNS: testNetNS, Local: k.bound, Backlog: k.backlog, Family: 2})
	}}
}

// hangsUp is the FIN of a queued connection.
func hangsUp(at int64, port uint16) action {
	at += began
	return action{at, func(k *fakeKernel) { k.die(at, port, event.CloseWait, event.CloseWaited, 0) }}
}

// resets is the RST of a queued connection.
func resets(at int64, port uint16) action {
	at += began
	return action{at, func(k *fakeKernel) { k.die(at, port, event.Reset, event.Close, 104) }}
}

func (k *fakeKernel) die(at int64, port uint16, kind event.Kind, state event.State, errno uint16) {
	i := slices.IndexFunc(k.queue, func(e event.Event) bool { return e.Peer.Port() == port })
	k.queue[i].State = state
	e := k.queue[i]
	e.Kind, e.Time, e.ListenerID, e.Errno = kind, at, 0, errno
	k.pending = append(k.pending, e)
	if kind == event.Reset {
		k.deaths.Reset++
	} else {
		k.deaths.CloseWait++
	}
}

// accepts takes the head of the queue.
func accepts(at int64) action {
	at += began
	return action{at, func(k *fakeKernel) {
		e := k.queue[0]
		k.queue = slices.Delete(k.queue, 0, 1)
		e.Kind, e.Time, e.Depth, e.Backlog = event.Accepted, at, uint32(len(k.queue)), k.backlog
		e.PID, e.TID = 123, 125
		copy(e.Comm[:], "python3")
		k.pending = append(k.pending, e)
		k.counts.Accepted++
		k.counts.LastAccept = at
		k.counts.MaxWait = max(k.counts.MaxWait, at-e.Queued)
		k.waits.Add(time.Duration(at - e.Queued))
		k.waits.NoteMax(time.Duration(k.counts.MaxWait))
		switch e.State {
		case event.CloseWaited:
			k.counts.AcceptedCloseWait++
		case event.Close:
			k.counts.AcceptedReset++
		}
	}}
}

// began is when the incident's trace begins, on the fake kernel's clock.
const began = 100 * second

// incident is a server that stops calling accept() for 41 s: clients queue up,
// give up, and are accepted too late. Times are from the start of the trace.
func incident() []action {
	return []action{
		enters(-9*second, 40001), enters(-8*second, 40002), hangsUp(-7*second, 40002),
		enters(1*second, 40003), accepts(1*second + 200*ms),
		enters(1*second+300*ms, 40004),
		hangsUp(42*second+500*ms, 40004),
		enters(2*second, 40005), resets(5*second, 40005),
		accepts(43 * second), accepts(43*second + 1*ms), accepts(43*second + 2*ms),
		enters(44*second, 40006), accepts(44*second + 812_000),
	}
}

// starvation is a server that leaks file descriptors until it has none left: it
// calls accept() again and again, its queue fills up, clients are refused, and
// it is killed.
func starvation() []action {
	script := []action{
		enters(1*second, 40001), accepts(1*second + 1*ms),
		enters(2*second, 40002), enters(2*second+100*ms, 40003), enters(2*second+200*ms, 40004),
		fails(2*second, 123, 24, 1, true),
		refuses(4*second, 40005, 0), refuses(5*second, 40005, 0), refuses(6*second, 40006, event.LastACK),
		hangsUp(6*second+500*ms, 40003),
		fails(6*second, 55, 22, 1, false),
		closes(9 * second),
	}
	for i := range int64(6) {
		script = append(script, fails((3+i)*second, 123, 24, 12431+uint32(i), true))
	}
	return script
}

// starvingKernel has a queue of two places and one more.
func starvingKernel() *fakeKernel {
	k := newFakeKernel(starvation()...)
	k.backlog, k.counts.Backlog = 2, 2
	k.now = began
	return k
}

// incidentKernel is at the start of the trace.
func incidentKernel() *fakeKernel {
	k := newFakeKernel(incident()...)
	for len(k.script) > 0 && k.script[0].at < began {
		k.script[0].do(k)
		k.script = k.script[1:]
	}
	// What happened before was not counted.
	k.pending, k.deaths = nil, listener.AtAddress{Key: k.deaths.Key}
	k.counts.Enqueued, k.counts.NonEmptySince = 0, 0
	k.now = began
	return k
}
