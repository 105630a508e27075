package probe

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// What is not seen or not kept is said, and the rest stays exact.

// lossesOf are the counts of losses by their keys.
func lossesOf(s *listener.Sample) map[string]uint64 {
	losses := map[string]uint64{}
	for _, l := range s.Losses {
		losses[l.What] += l.Count
	}
	return losses
}

// finish ends the client's half.
func (c *client) finish() { check(c.t, unix.Shutdown(c.fd, unix.SHUT_WR)) }

// finished returns when the server's end has seen that. Its acknowledgement may
// take 40 ms (TCP_DELACK_MIN, include/net/tcp.h).
func (c *client) finished() {
	for {
		info, err := unix.GetsockoptTCPInfo(c.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		check(c.t, err)
		if event.State(info.State) == event.FinWait2 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// finishedAndAccepted makes connections whose clients are done before they are
// accepted, a queueful after the other.
func finishedAndAccepted(t *testing.T, s *server, batches, each int, between func()) {
	t.Helper()
	for range batches {
		queued := make([]*client, each)
		for i := range queued {
			fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
			check(t, unix.Connect(fd, sockaddr(s.addr)))
			queued[i] = &client{t: t, fd: fd}
			queued[i].finish()
		}
		for _, c := range queued {
			c.finished()
			c.close()
		}
		for range each {
			fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
			check(t, err)
			check(t, unix.Close(fd))
		}
		between()
	}
}

func TestEventsLostInATinyBufferAreCounted(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const batches, each, all = 20, 250, 5000
		s := listen(t, "127.0.0.1:0", each)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port()), RingSize: 4096})
		readAll(t, tr, 3*sampleEvery) // what the walk at the start left
		sample, err := tr.Sample(true)
		check(t, err)
		before := lossesOf(sample)["ring_full"]
		canaries := must(tr.counts.canary())(t).closeWait

		events := 0
		count := func(e *event.Event) {
			if e.Local == s.addr && (e.Kind == event.CloseWait || e.Kind == event.Accepted && e.Flags&event.Sampled == 0) {
				events++
			}
		}
		turn := 0
		finishedAndAccepted(t, s, batches, each, func() {
			turn++
			// A walk of restricted mode would lose events of its own.
			if turn%7 == 0 && m != Restricted {
				check(t, tr.Read(count))
			}
		})
		sample, err = tr.Sample(true)
		check(t, err)
		lost := lossesOf(sample)["ring_full"] - before
		check(t, tr.Read(count))

		// What the kernel skips of a program on changes of state, it counts.
		skipped := lossesOf(sample)["recursion_misses"]
		at := addressOf(t, tr, s.addr)
		if at.CloseWait > all || at.CloseWait+skipped < all || at.Reset != 0 {
			t.Errorf("%d finished in the queue, counted %+v, skipped %d", all, at, skipped)
		}
		want := at.CloseWait
		if m == Restricted {
			// accept() is not watched, and changes of state show what is enqueued.
			if at.Enqueued > all || at.Enqueued+skipped < all {
				t.Errorf("%d enqueued, counted %+v, skipped %d", all, at, skipped)
			}
		} else {
			want += all
			checkCounts(t, tr, s.addr, all)
			if row := sampleOf(t, tr, s.addr); row.AcceptedCloseWait != all {
				t.Errorf("%d were accepted finished, counted %+v", all, row)
			}
		}
		// The canaries of other tracers, which a test of another package may start,
		// pass every filter, and may be lost too.
		others := must(tr.counts.canary())(t).closeWait - canaries
		if told := uint64(events) + lost; lost == 0 || told < want || told > want+others {
			t.Errorf("%d events and %d lost, want %d, and up to %d of other tracers", events, lost, want, others)
		}
		t.Logf("%d events read, %d lost, %v", events, lost, lossesOf(sample))

		// And it goes on.
		readAll(t, tr, 2*sampleEvery)
		for range 5 {
			c := connect(t, s.addr)
			readAll(t, tr, 2*sampleEvery)
			c.finish()
			seen := readUntil(t, tr, has(1, s.addr, event.CloseWait))
			s.accept()
			seen = append(seen, readUntil(t, tr, has(1, s.addr, event.Accepted))...)
			for _, e := range only(seen, s.addr, event.CloseWait, event.Accepted) {
				if e.Peer != c.local {
					t.Errorf("after the loss: %s", describe([]event.Event{e}))
				}
			}
		}
		sample, err = tr.Sample(false)
		check(t, err)
		if now := lossesOf(sample)["ring_full"]; now != before+lost {
			t.Errorf("%d events were lost with room for all", now-before-lost)
		}
	}, Fentry, Kprobe, Restricted)
}

func TestMoreListenersThanEntries(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const all, entries = 40, 8
		servers := make([]*server, all)
		for i := range servers {
			servers[i] = listen(t, "127.0.0.5:0", 8)
		}
		tr := open(t, Options{Mode: m, Listeners: entries})
		// Connections to different listeners may come from one port.
		type ends struct{ local, peer netip.AddrPort }
		made := map[ends]bool{}
		for _, s := range servers {
			c := connect(t, s.addr)
			c.finish()
			c.finished()
			made[ends{s.addr, c.local}] = true
			made[ends{s.addr, connect(t, s.addr).local}] = true
		}
		for _, s := range servers {
			s.accept()
			s.accept()
		}
		seenAll := func(events []event.Event) bool {
			dead, accepted := 0, 0
			for _, s := range servers {
				dead += len(only(events, s.addr, event.CloseWait))
				accepted += len(only(events, s.addr, event.Accepted))
			}
			return dead >= all && (m == Restricted || accepted >= 2*all)
		}
		events := readUntil(t, tr, seenAll)
		reported := map[ends]int{}
		for _, e := range events {
			if e.Kind != event.Accepted || !made[ends{e.Local, e.Peer}] {
				continue
			}
			reported[ends{e.Local, e.Peer}]++
			checkAcceptorOf(t, m, &e)
		}
		sample, err := tr.Sample(true)
		check(t, err)
		if lossesOf(sample)["listeners_full"] == 0 {
			t.Errorf("%d listeners with room for %d, and no loss is said: %v", all, entries, sample.Losses)
		}
		for _, s := range servers {
			if at := addressOf(t, tr, s.addr); at.CloseWait != 1 || at.Reset != 0 {
				t.Errorf("one died at %s: %+v", s.addr, at)
			}
		}
		if m == Restricted {
			return
		}
		for one := range made {
			if reported[one] != 1 {
				t.Errorf("%s at %s was reported %d times", one.peer, one.local, reported[one])
			}
		}
		var together, rows, waits uint64
		for _, l := range sample.Listeners {
			if l.Waits != nil {
				waits += l.Waits.Count()
			}
			if l.ID == 0 {
				together = l.Accepted
				if l.Enqueued != l.Accepted || l.AcceptedCloseWait*2 != l.Accepted {
					t.Errorf("counted together: %+v", l)
				}
				continue
			}
			rows++
			if l.Enqueued != 2 || l.Accepted != 2 || l.AcceptedCloseWait != 1 {
				t.Errorf("with an entry of its own: %+v", l)
			}
		}
		if rows != entries || together != 2*(all-rows) {
			t.Errorf("%d listeners with entries, the %d others accepted %d connections", rows, all-rows, together)
		}
		if waits != 2*all {
			t.Errorf("%d accepted, %d in the histograms", 2*all, waits)
		}
	}, Fentry, Kprobe, Restricted)
}

// Several threads on both CPUs queue and accept at once, some connections wait
// since before attach, and some are left over.
func TestBooksBalanceOverManyAcceptors(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const before, left, clients, acceptors = 40, 30, 5, 4
		all := 20000
		if m == Kprobe {
			all = 5000 // a breakpoint costs an emulated processor much
		}
		s := listen(t, "127.0.0.1:0", 1024)
		check(t, unix.SetNonblock(s.fd, true))
		for range before {
			connect(t, s.addr)
		}
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		if row := sampleOf(t, tr, s.addr); row.Depth != before || row.Enqueued != 0 {
			t.Errorf("%d are queued at the start: %+v", before, row)
		}
		var accepted atomic.Int64
		var stop atomic.Bool
		var accepting sync.WaitGroup
		for range acceptors {
			accepting.Go(func() {
				for !stop.Load() {
					pollIn(s.fd, 20)
					for fd, err := -1, error(nil); err == nil; {
						if fd, _, err = unix.Accept4(s.fd, unix.SOCK_CLOEXEC); err == nil {
							accepted.Add(1)
							unix.Close(fd)
						}
					}
				}
			})
		}
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			var connecting sync.WaitGroup
			for i := range clients {
				connecting.Go(func() {
					for range all / clients {
						if err := oneConnection(s.addr, i); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			connecting.Wait()
		}()
		var events []event.Event
		for done := false; !done; {
			select {
			case <-loaded:
				done = true
			default:
			}
			check(t, tr.Read(func(e *event.Event) { events = append(events, *e) }))
		}
		stop.Store(true)
		accepting.Wait()
		made := int64(all)
		if got := accepted.Load(); got != made+before {
			t.Fatalf("%d accepted of %d", got, made+before)
		}
		for range left {
			connect(t, s.addr)
		}
		events = append(events, readAll(t, tr, 150*time.Millisecond)...)
		taken := only(events, s.addr, event.Accepted)
		early := 0
		for i := range taken {
			e := &taken[i]
			if e.Queued > e.Time {
				early++
			}
			if e.Depth > 1025 || e.DepthAtEntry > 1025 || e.State == event.Close || int(e.PID) != unix.Getpid() {
				t.Errorf("absurd: %s", describe(taken[i:i+1]))
			}
		}
		if early > 0 {
			t.Errorf("%d of %d were accepted before they were queued", early, len(taken))
		}
		sample, err := tr.Sample(false)
		check(t, err)
		if lost := lossesOf(sample)["ring_full"]; uint64(len(taken))+lost != uint64(made+before) {
			t.Errorf("%d accepted, %d reported and %d lost", made+before, len(taken), lost)
		}
		check(t, tr.Walk())
		row := sampleOf(t, tr, s.addr)
		var byAddress uint64
		for _, a := range sample.Addresses {
			byAddress += a.Accepted
		}
		if row.Depth != left || row.Enqueued != uint64(made+left) || row.Accepted+byAddress != uint64(made+before) || row.Purged != 0 || row.Waits.Count() != row.Accepted {
			t.Errorf("%d queued at the start, %d since, %d accepted, %d left, by address %d: %+v", before, made+left, made+before, left, byAddress, row)
		}
		s.close()
		readUntil(t, tr, has(left, s.addr, event.Purged))
		row = sampleOf(t, tr, s.addr)
		if in, out := before+row.Enqueued, row.Accepted+byAddress+row.Purged+uint64(row.Depth); in != out || row.Purged != left || !row.Closed {
			t.Errorf("%d came, %d left: %+v", in, out, row)
		}
	}, Fentry, Kprobe)
}

// oneConnection connects from an address of the client's own, waits until the
// server closes and leaves nothing behind.
func oneConnection(to netip.AddrPort, client int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 2, byte(client + 1)}}); err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return err
	}
	var one [1]byte
	if _, err := unix.Read(fd, one[:]); err != nil {
		return err
	}
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
