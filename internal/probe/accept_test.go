package probe

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// What accept takes out of the queue: every connection once, with its wait.

// connectionTimes are one connection's moments, ns of the clock of events, as
// client and server saw them.
type connectionTimes struct {
	connecting, acknowledged   int64 // client
	accepting, accepted        int64 // server
	acceptorTID, acceptorsSeen int
}

// stampedLoad makes connections from several threads to several accepting
// threads, and returns each one's moments by its client's address.
func stampedLoad(t *testing.T, s *server, connections, clients, acceptors int) map[netip.AddrPort]*connectionTimes {
	t.Helper()
	var mu sync.Mutex
	times := map[netip.AddrPort]*connectionTimes{}
	at := func(a netip.AddrPort) *connectionTimes {
		if times[a] == nil {
			times[a] = &connectionTimes{}
		}
		return times[a]
	}
	var serving, connecting sync.WaitGroup
	for range acceptors {
		serving.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for {
				before := monotonic()
				fd, peer, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
				after := monotonic()
				if err == unix.EINTR {
					continue
				}
				if err != nil {
					return // the listener was shut down
				}
				p := peer.(*unix.SockaddrInet4)
				mu.Lock()
				c := at(netip.AddrPortFrom(netip.AddrFrom4(p.Addr), uint16(p.Port)))
				c.accepting, c.accepted, c.acceptorTID = before, after, unix.Gettid()
				c.acceptorsSeen++
				mu.Unlock()
				var one [1]byte
				unix.Read(fd, one[:])
				unix.Close(fd)
			}
		})
	}
	for i := range clients {
		connecting.Go(func() {
			for n := range connections / clients {
				if err := stampedConnection(s.addr, i, n, func(local netip.AddrPort, before, acked int64) {
					mu.Lock()
					c := at(local)
					c.connecting, c.acknowledged = before, acked
					mu.Unlock()
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	connecting.Wait()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		done := 0
		for _, c := range times {
			done += c.acceptorsSeen
		}
		mu.Unlock()
		if done >= connections {
			break
		}
	}
	unix.Shutdown(s.fd, unix.SHUT_RD)
	serving.Wait()
	return times
}

// stampedConnection connects from an address and port that no other connection
// of the load has, sends a byte and waits until the kernel at the other end has
// acknowledged it, which it does once the connection is queued.
func stampedConnection(to netip.AddrPort, client, n int, stamp func(local netip.AddrPort, before, acked int64)) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(client + 1)}, Port: 20000 + n}
	if err := unix.Bind(fd, from); err != nil {
		return err
	}
	before := monotonic()
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for {
		unsent, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if err != nil {
			return fmt.Errorf("ask what is not acknowledged: %w", err)
		}
		if unsent == 0 {
			break
		}
	}
	acked := monotonic()
	local, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	a := local.(*unix.SockaddrInet4)
	stamp(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), before, acked)
	// Wait for the server's end, so that a dead connection is none of ours.
	var one [1]byte
	unix.Read(fd, one[:])
	return nil
}

func TestEveryConnectionIsAcceptedOnceWithinItsBounds(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const connections = 5000
		s := listen(t, "127.0.0.1:0", 1024)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		var times map[netip.AddrPort]*connectionTimes
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			times = stampedLoad(t, s, connections, 4, 4)
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
		checkAccepted(t, tr, s.addr, events, times, connections)
	}, Fentry, Kprobe)
}

func checkAccepted(t *testing.T, tr *Tracer, local netip.AddrPort, events []event.Event, times map[netip.AddrPort]*connectionTimes, connections int) {
	t.Helper()
	reported := map[netip.AddrPort]int{}
	unknown, outside := 0, 0
	for _, e := range only(events, local, event.Accepted) {
		c := times[e.Peer]
		if c == nil {
			t.Errorf("reported, but nobody made it: %s", describe([]event.Event{e}))
			continue
		}
		reported[e.Peer]++
		if int(e.TID) != c.acceptorTID {
			t.Errorf("accepted by thread %d, reported %s", c.acceptorTID, describe([]event.Event{e}))
		}
		wait, known := e.Wait()
		if !known {
			// Taken before it was ESTABLISHED: then it has waited for nothing.
			unknown++
		}
		lower := time.Duration(c.accepting - c.acknowledged)
		upper := time.Duration(c.accepted-c.connecting) + time.Microsecond
		if wait < max(lower, 0) || wait > upper {
			outside++
			t.Errorf("wait %v is outside [%v, %v]: %s", wait, lower, upper, describe([]event.Event{e}))
		}
	}
	for peer, n := range reported {
		if n != 1 {
			t.Errorf("%s was reported %d times", peer, n)
		}
	}
	if len(reported) != connections || len(times) != connections {
		t.Errorf("%d of %d connections reported (%d made)", len(reported), connections, len(times))
	}
	checkCounts(t, tr, local, connections)
	t.Logf("%d connections, %d taken before ESTABLISHED, %d outside their bounds", connections, unknown, outside)
}

// checkCounts says that every connection was enqueued and accepted once by the
// kernel's own counts: under the listener, or under its address where the
// kernel skipped the program that knows the listener.
func checkCounts(t *testing.T, tr *Tracer, at netip.AddrPort, connections int) {
	t.Helper()
	s, err := tr.Sample(true)
	check(t, err)
	var enqueued, accepted, byAddress, waits uint64
	for _, l := range s.Listeners {
		if l.Key.Addr == at {
			enqueued += l.Enqueued
			accepted += l.Accepted
			waits += l.Waits.Count()
		}
	}
	for _, a := range s.Addresses {
		if a.Key.Addr == at {
			byAddress += a.Accepted
		}
	}
	if want := uint64(connections); enqueued != want || accepted+byAddress != want || waits != accepted {
		t.Errorf("%d connections: %d enqueued, %d accepted and %d more by address, %d in the histogram", connections, enqueued, accepted, byAddress, waits)
	}
	t.Logf("%d of %d accepts tied to the address only", byAddress, connections)
}

func TestQueuedBeforeAttachHasExactAge(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const tolerance = 5 * time.Millisecond
		s := listen(t, "127.0.0.1:0", 16)
		type made struct {
			local  netip.AddrPort
			lo, hi int64
		}
		var all []made
		for i := range 6 {
			lo := monotonic()
			c := connect(t, s.addr)
			// The last ACK of the handshake may be left to ksoftirqd.
			for must(unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO))(t).Unacked <= uint32(i) {
				time.Sleep(time.Millisecond)
			}
			all = append(all, made{c.local, lo, monotonic()})
			time.Sleep(20 * time.Millisecond)
			if i >= 2 {
				c.send("data")
			}
			if i >= 4 {
				time.Sleep(20 * time.Millisecond)
				c.close()
			}
		}
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		events := readUntil(t, tr, has(len(all), s.addr, event.Queued))
		queued := only(events, s.addr, event.Queued)[:len(all)]
		for i, e := range queued {
			if e.Peer != all[i].local {
				t.Fatalf("entry %d of the queue is %s, not %s", i, e.Peer, all[i].local)
			}
			if e.Queued < all[i].lo-int64(tolerance) || e.Queued > all[i].hi+int64(tolerance) {
				t.Errorf("queued at %d, want between %d and %d: %s", e.Queued, all[i].lo, all[i].hi, describe([]event.Event{e}))
			}
			if want := uint32(i); e.DepthAtEntry != want {
				t.Errorf("depth at entry %d, want %d", e.DepthAtEntry, want)
			}
			want := event.Established
			if i >= 4 {
				want = event.CloseWaited
			}
			if e.State != want {
				t.Errorf("state %s, want %s", e.State, want)
			}
		}
		if m == Restricted {
			return
		}
		for range all {
			s.accept()
		}
		events = readUntil(t, tr, has(len(all), s.addr, event.Accepted))
		for i, e := range only(events, s.addr, event.Accepted) {
			if e.Queued != queued[i].Queued || e.Peer != all[i].local {
				t.Errorf("accepted with another queue time than it had: %s", describe([]event.Event{e}))
			}
		}
	}, Fentry, Kprobe, Restricted)
}

func TestBlockedInAcceptSinceBeforeAttach(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const threads = 50
		s := listen(t, "127.0.0.1:0", 128)
		done := make(chan int, threads)
		for range threads {
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				tid := unix.Gettid()
				if fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC); err == nil {
					unix.Close(fd)
				}
				done <- tid
			}()
		}
		time.Sleep(500 * time.Millisecond) // all of them block
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		// A second connection of each thread, which enters accept after attach,
		// is reported by the other hook, and once too.
		peers := map[netip.AddrPort]bool{}
		for range threads {
			peers[connect(t, s.addr).local] = true
		}
		tids := map[int]bool{}
		for range threads {
			tids[<-done] = true
		}
		again := make(chan struct{})
		go func() {
			s.accept()
			close(again)
		}()
		time.Sleep(50 * time.Millisecond)
		peers[connect(t, s.addr).local] = true
		<-again
		events := readAll(t, tr, 500*time.Millisecond)
		seen := map[netip.AddrPort]int{}
		for _, e := range only(events, s.addr, event.Accepted) {
			seen[e.Peer]++
			if !peers[e.Peer] {
				t.Errorf("reported, but nobody made it: %s", describe([]event.Event{e}))
			}
			if e.ListenerID == 0 {
				t.Errorf("listener not known: %s", describe([]event.Event{e}))
			}
		}
		for p := range peers {
			if seen[p] != 1 {
				t.Errorf("%s was reported %d times", p, seen[p])
			}
		}
		checkCounts(t, tr, s.addr, threads+1)
	}, Fentry, Kprobe)
}

func TestAcceptorSpinningOnAnotherCPU(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		if runtime.NumCPU() < 2 {
			t.Fatal("needs two CPUs")
		}
		const connections = 1500
		s := listen(t, "127.0.0.1:0", 1024)
		check(t, unix.SetNonblock(s.fd, true))
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		stop := make(chan struct{})
		var spinning sync.WaitGroup
		spinning.Go(func() {
			pinned(1, func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC); err == nil {
						unix.Close(fd)
					}
				}
			})
		})
		made := make(chan time.Duration)
		go pinned(0, func() {
			var slowest int64
			for range connections {
				before := monotonic()
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err == nil {
					err = unix.Connect(fd, sockaddr(s.addr))
				}
				if err != nil {
					t.Error(err)
					break
				}
				var one [1]byte
				unix.Read(fd, one[:]) // the server closes
				unix.Close(fd)
				slowest = max(slowest, monotonic()-before)
			}
			made <- time.Duration(slowest)
		})
		var slowest time.Duration
		var events []event.Event
		for slowest == 0 {
			select {
			case slowest = <-made:
			default:
			}
			check(t, tr.Read(func(e *event.Event) { events = append(events, *e) }))
		}
		close(stop)
		spinning.Wait()
		events = append(events, readAll(t, tr, 200*time.Millisecond)...)
		accepted := only(events, s.addr, event.Accepted)
		early := 0
		for _, e := range accepted {
			wait, known := e.Wait()
			if !known {
				early++
			}
			if wait < 0 || wait > slowest {
				t.Errorf("absurd wait (no connection took longer than %v): %s", slowest, describe([]event.Event{e}))
			}
			if e.Depth > 1024 || e.DepthAtEntry > 1024 {
				t.Errorf("absurd depth: %s", describe([]event.Event{e}))
			}
		}
		if len(accepted) != connections {
			t.Errorf("%d of %d reported", len(accepted), connections)
		}
		checkCounts(t, tr, s.addr, connections)
		t.Logf("%d of %d were taken before they were ESTABLISHED", early, connections)
	}, Fentry, Kprobe)
}

// pinned runs fn on one CPU.
func pinned(cpu int, fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if unix.SchedGetaffinity(0, &before) == nil {
		set.Set(cpu)
		unix.SchedSetaffinity(0, &set)
		defer unix.SchedSetaffinity(0, &before)
	}
	fn()
}
