package report

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

const (
	second = int64(time.Second)
	ms     = int64(time.Millisecond)
	netns  = 4026531840
	began  = 1000 * second // CLOCK_MONOTONIC of the stories
)

// story is a made-up host: its listeners, what happens at them, and the trace of
// it.
type story struct {
	tb       testing.TB
	w        *recording.Writer
	now      int64
	random   *rand.Rand
	sites    []*site
	peers    uint32
	losses   []listener.Loss
	addrs    map[listener.Key]*listener.AtAddress
	failures []listener.AcceptError
}

// site is a listener.
type site struct {
	counted listener.Counted
	queue   []entry
	pid     uint32
	comm    event.Comm
}

type entry struct {
	peer   netip.AddrPort
	queued int64
	entry  uint32
	state  event.State
	ready  int64 // when the server would accept it
	limit  int64 // when its client gives up
}

func comm(name string) (c event.Comm) {
	copy(c[:], name)
	return c
}

func header() *recording.Header {
	return &recording.Header{
		Tool: "acceptwatch test", Host: "web-1", Kernel: "6.12.0", BootID: "b", Start: began,
		Clock: recording.Clock{Monotonic: began, Wall: time.Date(2024, 5, 17, 14, 0, 0, 0, time.UTC).UnixNano()},
		Mode:  "fentry", Why: "BTF trampolines work here", Filter: "everything", NetNS: netns,
	}
}

func newStory(tb testing.TB, b *bytes.Buffer, h *recording.Header) *story {
	w, err := recording.NewWriter(b, h, recording.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return &story{tb: tb, w: w, now: began, random: rand.New(rand.NewPCG(1, 2)), addrs: make(map[listener.Key]*listener.AtAddress)}
}

func (s *story) must(err error) {
	if err != nil {
		s.tb.Helper()
		s.tb.Fatal(err)
	}
}

// listen opens a listener.
func (s *story) listen(addr string, backlog, pid uint32, name string) *site {
	bound := netip.MustParseAddrPort(addr)
	l := &site{pid: pid, comm: comm(name), counted: listener.Counted{
		ID: uint64(len(s.sites) + 1), Key: listener.Key{NetNS: netns, Addr: bound}, Family: 2,
		Inode: 5000 + uint32(len(s.sites)), Backlog: backlog,
	}}
	if bound.Addr().Is6() {
		l.counted.Family = 10
	}
	s.sites = append(s.sites, l)
	return l
}

func (s *story) write(e event.Event) { s.must(s.w.WriteEvent(&e)) }

// local is the end of a connection to a listener.
func (l *site) local() netip.AddrPort {
	a := l.counted.Key.Addr
	if a.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 10}), a.Port())
	}
	return a
}

func (l *site) about(kind event.Kind, at int64) event.Event {
	c := &l.counted
	return event.Event{Kind: kind, Time: at, ListenerID: c.ID, Local: l.local(), NetNS: netns,
		Depth: uint32(len(l.queue)), Backlog: c.Backlog, Family: c.Family}
}

// enter queues a client, or refuses it.
func (s *story) enter(l *site) {
	s.peers++
	p := s.peers
	peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + p%200)}), uint16(32768+p%28000))
	c := &l.counted
	if uint32(len(l.queue)) > c.Backlog {
		c.OverflowSYN++
		e := l.about(event.Overflow, s.now)
		e.Peer = peer
		s.write(e)
		return
	}
	if len(l.queue) == 0 {
		c.NonEmptySince = s.now
	}
	patience := 5*second + s.random.Int64N(30*ms)
	if s.random.IntN(40) == 0 {
		patience = s.random.Int64N(20 * second)
	}
	l.queue = append(l.queue, entry{
		peer: peer, queued: s.now / 1000 * 1000, entry: uint32(len(l.queue)), state: event.Established,
		ready: s.now + int64(s.random.ExpFloat64()*float64(ms)), limit: s.now + patience,
	})
	c.Enqueued++
	c.Depth = uint32(len(l.queue))
	c.MaxDepth = max(c.MaxDepth, c.Depth)
}

// die is a client that gives up: the i-th in the queue.
func (s *story) die(l *site, i int, kind event.Kind) {
	q := &l.queue[i]
	q.state = event.CloseWaited
	at := s.addrs[listener.Key{NetNS: netns, Addr: l.local()}]
	if at == nil {
		at = &listener.AtAddress{Key: listener.Key{NetNS: netns, Addr: l.local()}}
		s.addrs[at.Key] = at
	}
	e := l.about(kind, s.now)
	e.ListenerID, e.Peer, e.Queued, e.DepthAtEntry, e.State = 0, q.peer, q.queued, q.entry, q.state
	if kind == event.Reset {
		q.state, e.State, e.Errno = event.Close, event.Close, uint16(unix.ECONNRESET)
		at.Reset++
	} else {
		at.CloseWait++
	}
	s.write(e)
}

// accept takes the oldest client.
func (s *story) accept(l *site) {
	q := l.queue[0]
	l.queue = l.queue[1:]
	c := &l.counted
	c.Accepted++
	switch q.state {
	case event.CloseWaited:
		c.AcceptedCloseWait++
	case event.Close:
		c.AcceptedReset++
	}
	c.Depth = uint32(len(l.queue))
	c.LastAccept = s.now
	c.MaxWait = max(c.MaxWait, s.now-q.queued)
	if c.Waits == nil {
		c.Waits = new(listener.Histogram)
	}
	c.Waits.Add(time.Duration(s.now - q.queued))
	e := l.about(event.Accepted, s.now)
	e.Peer, e.Queued, e.DepthAtEntry, e.State, e.Unread = q.peer, q.queued, q.entry, q.state, 77
	e.PID, e.TID, e.Comm = l.pid, l.pid+1, l.comm
	s.write(e)
}

// fail is an accept() that failed, so many times.
func (s *story) fail(l *site, errno unix.Errno, repeats uint32) {
	e := l.about(event.AcceptError, s.now)
	e.Local, e.PID, e.TID, e.Comm = l.counted.Key.Addr, l.pid, l.pid+1, l.comm
	e.Errno, e.Repeats, e.FD, e.Inode = uint16(errno), repeats, 5, l.counted.Inode
	s.write(e)
	for i := range s.failures {
		if f := &s.failures[i]; f.ListenerID == l.counted.ID && f.Errno == uint16(errno) {
			f.Count += uint64(repeats)
			f.Last = s.now
			return
		}
	}
	s.failures = append(s.failures, listener.AcceptError{ListenerID: l.counted.ID, Key: l.counted.Key, Inode: l.counted.Inode,
		PID: l.pid, Comm: l.comm, Errno: uint16(errno), Count: uint64(repeats), Last: s.now})
}

// walk writes what all queues hold.
func (s *story) walk() {
	s.must(s.w.WriteMark(recording.Mark{Kind: recording.MarkWalk, Time: s.now}))
	for _, l := range s.sites {
		e := l.about(event.Listener, s.now)
		e.Local, e.Inode, e.State = l.counted.Key.Addr, l.counted.Inode, event.Listening
		s.write(e)
		for i, q := range l.queue {
			e := l.about(event.Queued, s.now)
			e.Peer, e.Queued, e.DepthAtEntry, e.State, e.Depth = q.peer, q.queued, q.entry, q.state, uint32(i+1)
			s.write(e)
		}
	}
}

func (s *story) sample(waits bool) {
	sample := &listener.Sample{Time: s.now, Losses: s.losses, AcceptErrors: s.failures}
	for _, l := range s.sites {
		c := l.counted
		if !waits {
			c.Waits = nil
		}
		sample.Listeners = append(sample.Listeners, c)
	}
	for _, a := range s.addrs {
		sample.Addresses = append(sample.Addresses, *a)
	}
	s.must(s.w.WriteSample(sample, waits))
}

func (s *story) owners(threads ...string) {
	o := &recording.Owners{Time: s.now, HeldKnown: true, Scan: &recording.Scan{Processes: 212}}
	for _, l := range s.sites {
		o.Listening = append(o.Listening, recording.Owner{Inode: l.counted.Inode, PID: int(l.pid), Comm: l.comm.String(),
			FDs: []int{5}, Threads: threads})
	}
	s.must(s.w.WriteOwners(o))
}

func (s *story) close() {
	s.sample(true)
	s.must(s.w.WriteMark(recording.Mark{Kind: recording.MarkEnd, Time: s.now}))
	s.must(s.w.Close())
}

// incident is two minutes of a web server. After 20 s it runs out of file
// descriptors and accepts nothing for a minute; 3,000 clients are queued, and
// give up after 5 s each; then the queue is full. It recovers, and accepts 3,000
// dead connections. Two other listeners work all the time.
func incident(tb testing.TB) []byte {
	var b bytes.Buffer
	h := header()
	s := newStory(tb, &b, h)
	web := s.listen("0.0.0.0:8000", 2999, 4711, "gunicorn")
	tls := s.listen("[::]:443", 511, 812, "nginx")
	metrics := s.listen("127.0.0.1:9090", 128, 2001, "prometheus")
	s.walk()
	s.owners("gunicorn[4711/4712] in epoll_wait")
	s.sample(false)
	const step = 5 * ms
	for at := int64(0); at < 120*second; at += step {
		s.now = began + at
		every := func(n int64) bool { return at%n == 0 }
		broken := at >= 20*second && at < 90*second
		if every(20 * ms) {
			s.enter(web)
		}
		if every(10 * ms) {
			s.enter(tls)
		}
		if every(second) {
			s.enter(metrics)
		}
		for i := range web.queue {
			if q := &web.queue[i]; q.state == event.Established && q.limit < began+at {
				s.now = q.limit
				kind := event.CloseWait
				if s.random.IntN(25) == 0 {
					kind = event.Reset
				}
				s.die(web, i, kind)
			}
		}
		for _, l := range s.sites {
			s.now = began + at
			for n := 0; n < 30 && len(l.queue) > 0 && (l != web || !broken) && l.queue[0].ready < began+at+step; n++ {
				s.now = max(s.now, l.queue[0].ready)
				s.accept(l)
			}
		}
		s.now = began + at
		if broken && every(second) {
			s.fail(web, unix.EMFILE, 900+uint32(s.random.IntN(50)))
		}
		if every(200 * ms) {
			s.sample(false)
		}
		if every(30 * second) {
			s.walk()
		}
	}
	s.now = began + 120*second
	s.losses = []listener.Loss{{What: "ring_full", Text: "events found the buffer full", Count: 3}}
	s.close()
	return b.Bytes()
}

// read makes the report of a trace that has one.
func read(tb testing.TB, trace []byte) *Report {
	tb.Helper()
	r, err := recording.NewReader(bytes.NewReader(trace))
	if err != nil {
		tb.Fatal(err)
	}
	var got []*Report
	if err := Each(r, Options{}, func(rep *Report) error { got = append(got, rep); return nil }); err != nil {
		tb.Fatal(err)
	}
	if len(got) != 1 {
		tb.Fatalf("%d reports of one trace", len(got))
	}
	return got[0]
}
