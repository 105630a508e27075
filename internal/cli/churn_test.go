package cli

import (
	"bytes"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// churnSource is a host on which listeners come and go, each at an address of
// its own: five thousand in each Read, which close two Reads later, with a
// connection that is accepted, and one that hangs up and is purged.
type churnSource struct {
	now     int64 // ns
	made    int   // listeners
	counted []listener.Counted
	deaths  []listener.AtAddress
	each    func(made int) // called before each Read
}

const (
	churnARead = 5000
	churnLife  = 2 * churnARead // listeners that are open at a time
)

func (s *churnSource) Mode() string     { return "fentry" }
func (s *churnSource) Limits() []string { return nil }
func (s *churnSource) Close() error     { return nil }
func (s *churnSource) Walk() error      { return nil }

func (s *churnSource) Read(fn func(*event.Event)) error {
	s.each(s.made)
	s.counted, s.deaths = s.counted[:0], s.deaths[:0]
	for range churnARead {
		s.made++
		s.now += second / 5 / churnARead
		s.open(s.made, fn)
		if s.made > churnLife {
			s.end(s.made-churnLife, fn)
		}
	}
	return nil
}

// of is an event of the i-th listener.
func (s *churnSource) of(i int) event.Event {
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(i >> 16)}), uint16(i))
	return event.Event{Time: s.now, NetNS: testNetNS, Local: at, Family: 2, Backlog: testBacklog, ListenerID: uint64(i) << 8}
}

func (s *churnSource) open(i int, fn func(*event.Event)) {
	e := s.of(i)
	e.Kind, e.State, e.Inode = event.Listener, event.Listening, uint32(i)
	fn(&e)
	e = s.of(i)
	e.Kind, e.State, e.Queued, e.PID, e.TID = event.Accepted, event.Established, s.now/1000*1000, 123, 125
	e.Peer = netip.AddrPortFrom(e.Local.Addr(), 40000)
	fn(&e)
}

// end is the end of a listener. Of every tenth the event of it is lost.
func (s *churnSource) end(i int, fn func(*event.Event)) {
	e := s.of(i)
	id := e.ListenerID
	e.Queued, e.State, e.Peer = s.now/1000*1000, event.CloseWaited, netip.AddrPortFrom(e.Local.Addr(), 40001)
	e.Kind, e.ListenerID = event.CloseWait, 0
	fn(&e)
	e.Kind, e.ListenerID = event.Purged, id
	fn(&e)
	if i%10 != 0 {
		e = s.of(i)
		e.Kind = event.ListenerClosed
		fn(&e)
	}
	key := listener.Key{NetNS: testNetNS, Addr: e.Local}
	s.counted = append(s.counted, listener.Counted{
		ID: id, Key: key, Family: 2, Inode: uint32(i), Backlog: testBacklog, Enqueued: 2, Accepted: 1, Purged: 1, PurgedDead: 1,
		LastAccept: s.now, Closed: true,
	})
	s.deaths = append(s.deaths, listener.AtAddress{Key: key, CloseWait: 1})
}

func (s *churnSource) Sample(bool) (*listener.Sample, error) {
	return &listener.Sample{Time: s.now, Listeners: s.counted, Addresses: s.deaths}, nil
}

// A day in which a million listeners come and go needs no more memory than its
// first part, while it is shown and recorded, and the summary says what it did
// not keep.
func TestAMillionListenersNeedBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const n = 1_000_000
	used := map[int]float64{} // by listeners so far, in MiB
	src := &churnSource{now: began}
	src.each = func(made int) {
		if made == n/5 || made == n-churnARead {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			used[made] = float64(m.HeapAlloc) / (1 << 20)
		}
	}
	var out bytes.Buffer
	a := fakeApp(newFakeKernel(), &out)
	a.env.monotonic = func() int64 { return src.now }
	o := traceOptions{stallAfter: time.Second, duration: n / churnARead * time.Second / 5, kinds: []event.Kind{event.Stall}}
	clock := newWallClock(&a.env)
	l := newLive(a, src, &o, a.traceView(&o, clock, a.env.now), clock)
	w, err := recording.NewWriter(io.Discard, headerOf(l, sourceOptions{}), recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.record(&tape{to: w})
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	early, late := used[n/5], used[n-churnARead]
	t.Logf("%.1f MiB after %d listeners, %.1f MiB after %d", early, n/5, late, n)
	if late > early+16 {
		t.Errorf("%.1f MiB are in use after %d listeners, %.1f MiB after %d", early, n/5, late, n)
	}
	if kept := len(l.lastAccepts.by) + len(l.hosts.known); kept > 1<<17 {
		t.Errorf("who accepted last is known of %d listeners, and who holds %d", len(l.lastAccepts.by), len(l.hosts.known))
	}
	for _, want := range []string{"addresses of closed listeners, which were too many for rows of their own", "local addresses, which were too many to follow"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the summary does not say %q", want)
		}
	}
}
