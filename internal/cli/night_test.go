package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// night writes the recording of a made-up host: an API whose only worker is stuck
// from 0:30 to 1:30, until clients are refused, a busy proxy, and a server that has
// no descriptors from 1:00 on. It lasts two minutes.
type night struct {
	t      *testing.T
	to     *recording.Writer
	now    int64 // ns since its beginning
	counts [3]listener.Counted
	waits  [3]listener.Histogram
	queue  []event.Event // of the API
	deaths listener.AtAddress
	failed listener.AcceptError
	losses []listener.Loss
}

const (
	nightAPI = iota
	nightProxy
	nightLeaky
)

func recordNight(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "night.trace")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := &night{t: t}
	n.to, err = recording.NewWriter(file, &recording.Header{
		Host: "web1", Mode: "fentry", Start: began, NetNS: testNetNS, Filter: "everything",
		Clock:    recording.Clock{Monotonic: began, Wall: time.Date(2024, 5, 17, 2, 0, 0, 0, time.UTC).UnixNano()},
		Settings: map[string]string{recording.SettingStallAfter: "1s"},
	}, recording.Options{})
	n.check(err)
	for i, addr := range []string{"127.0.0.1:8000", "0.0.0.0:443", "[2001:db8::30:40]:3000"} {
		key := listener.Key{NetNS: testNetNS, Addr: netip.MustParseAddrPort(addr)}
		n.counts[i] = listener.Counted{ID: uint64(i + 1), Key: key, Family: 2, Inode: uint32(100 + i), Backlog: 128}
	}
	n.counts[nightAPI].Backlog = 16
	n.deaths.Key = n.counts[nightAPI].Key
	n.check(n.to.WriteOwners(&recording.Owners{Time: began, Listening: []recording.Owner{
		{Inode: 100, PID: 133, Comm: "gunicorn", Unit: "api.service"},
		{Inode: 101, PID: 20, Comm: "nginx", Container: "0123456789abcdef", Runtime: "docker"},
		{Inode: 102, PID: 77, Comm: "node"},
	}}))
	n.walk()
	n.sample()
	n.check(n.to.WriteMark(recording.Mark{Kind: recording.MarkReady, Time: began}))
	for ; n.now <= 120*second; n.now += 200 * ms {
		if n.now%second == 0 {
			n.second(n.now / second)
		}
		if n.now%(5*second) == 0 {
			n.walk()
		}
		n.sample()
	}
	n.check(n.to.WriteMark(recording.Mark{Kind: recording.MarkEnd, Time: began + n.now}))
	n.check(n.to.Close())
	return path
}

func (n *night) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *night) write(e *event.Event) {
	n.t.Helper()
	n.check(n.to.WriteEvent(e))
}

// event is one of a listener, now.
func (n *night) event(i int, kind event.Kind, port uint16) event.Event {
	c := &n.counts[i]
	e := event.Event{Kind: kind, Time: began + n.now, ListenerID: c.ID, NetNS: testNetNS, Local: c.Key.Addr,
		Depth: c.Depth, Backlog: c.Backlog, Inode: c.Inode, Family: 2, State: event.Established}
	if port != 0 {
		e.Peer = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), port)
	}
	return e
}

func (n *night) second(s int64) {
	for i := range 20 + s%3 {
		n.accepted(nightProxy, time.Duration(1+i)*time.Millisecond, 20, 20+uint32(i%2), "nginx", 0)
	}
	api := &n.counts[nightAPI]
	switch {
	case s < 30:
		n.accepted(nightAPI, 20*time.Millisecond, 133, 133, "gunicorn", 0)
	case s < 90:
		n.stuck(s)
	case len(n.queue) > 0:
		for len(n.queue) > 0 {
			e := n.queue[0]
			n.queue = n.queue[1:]
			api.Depth--
			n.accepted(nightAPI, time.Duration(began+n.now-e.Queued), 133, 133, "gunicorn", e.Peer.Port(), e.State)
		}
	}
	if s == 40 {
		n.losses = []listener.Loss{{What: "ring_full", Text: "events found the buffer full", Count: 3}}
	}
	if s >= 60 {
		leaky := &n.counts[nightLeaky]
		leaky.Depth, leaky.Enqueued, leaky.NonEmptySince = 2, 2, began+60*second
		n.failed = listener.AcceptError{ListenerID: leaky.ID, Key: leaky.Key, Inode: leaky.Inode, PID: 77, Comm: comm("node"),
			Errno: 24, Count: uint64(s-59) * 100, Last: began + n.now}
		e := n.event(nightLeaky, event.AcceptError, 0)
		e.PID, e.TID, e.Comm, e.Errno, e.FD, e.Repeats = 77, 77, comm("node"), 24, 18, 100
		n.write(&e)
	}
}

// stuck is a client every other second, of whom each third gives up 3 s later.
func (n *night) stuck(s int64) {
	api := &n.counts[nightAPI]
	if s%2 == 0 {
		e := n.event(nightAPI, event.Queued, uint16(40000+s))
		if api.Depth > api.Backlog {
			e.Kind = event.Overflow
			api.OverflowSYN++
			n.write(&e)
			return
		}
		e.Queued, e.Unread = began+n.now, 78
		if api.Depth == 0 {
			api.NonEmptySince = e.Queued
		}
		api.Depth++
		api.Enqueued++
		api.MaxDepth = max(api.MaxDepth, api.Depth)
		n.queue = append(n.queue, e)
	}
	for i := range n.queue {
		if q := &n.queue[i]; i%3 == 1 && began+n.now == q.Queued+3*second {
			q.State = event.CloseWaited
			e := *q
			e.Kind, e.Time, e.ListenerID = event.CloseWait, began+n.now, 0
			n.deaths.CloseWait++
			n.write(&e)
		}
	}
	if s == 34 {
		n.check(n.to.WriteEvidence(&diagnose.Evidence{
			Time: began + n.now, Span: 3 * time.Second, Listener: api.Key.Addr.String(), NetNS: testNetNS, Mode: "fentry", Inode: api.Inode,
			Blind: []string{"nobody looked: this is a test"},
		}))
	}
}

func (n *night) accepted(i int, wait time.Duration, pid, tid uint32, name string, port uint16, state ...event.State) {
	c := &n.counts[i]
	e := n.event(i, event.Accepted, max(port, uint16(30000+c.Accepted%1000)))
	e.Queued, e.PID, e.TID, e.Comm = (e.Time-int64(wait))/1000*1000, pid, tid, comm(name)
	if len(state) > 0 {
		e.State = state[0]
	}
	if e.State.Dead() {
		c.AcceptedCloseWait++
	}
	if port == 0 {
		c.Enqueued++
	}
	c.Accepted++
	c.LastAccept = e.Time
	c.MaxWait = max(c.MaxWait, int64(wait))
	n.waits[i].Add(wait)
	n.write(&e)
}

func (n *night) walk() {
	for i := range n.counts {
		e := n.event(i, event.Listener, 0)
		e.State = event.Listening
		n.write(&e)
		if i != nightAPI {
			continue
		}
		for _, q := range n.queue {
			q.Kind, q.Time, q.Depth = event.Queued, e.Time, e.Depth
			n.write(&q)
		}
	}
}

func (n *night) sample() {
	s := &listener.Sample{Time: began + n.now, Addresses: []listener.AtAddress{n.deaths}, Losses: n.losses}
	for i := range n.counts {
		c := n.counts[i]
		c.Waits = n.waits[i].Clone()
		s.Listeners = append(s.Listeners, c)
	}
	if n.failed.Count > 0 {
		s.AcceptErrors = []listener.AcceptError{n.failed}
	}
	n.check(n.to.WriteSample(s, true))
}
