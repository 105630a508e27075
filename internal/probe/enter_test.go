package probe

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/preflight"
)

// Uncommon ways into a queue: Fast Open, MPTCP, another listener of the group.

// deaf makes a socket drop every packet that comes in: a handshake that it
// begins stays open.
func deaf(t *testing.T, fd int) {
	t.Helper()
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	check(t, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop}))
}

// openFast sends a SYN with data; a deaf client never acknowledges the answer.
func openFast(t *testing.T, to netip.AddrPort, data string, hearing bool) *client {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))(t)
	if !hearing {
		deaf(t, fd)
	}
	err := unix.Sendto(fd, []byte(data), unix.MSG_FASTOPEN, sockaddr(to))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	c := &client{t: t, fd: fd, local: localAddr(t, fd)}
	t.Cleanup(c.close)
	return c
}

// listenFast listens with Fast Open, for which no cookies are asked.
func listenFast(t *testing.T) *server {
	t.Helper()
	sysctl(t, "ipv4.tcp_fastopen", "519") // client, server, both without cookies
	s := listen(t, "127.0.0.1:0", 8)
	check(t, unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 8))
	return s
}

func TestFastOpenIsQueuedAtTheSYN(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		inQuietNamespace(t, func() {
			s := listenFast(t)
			tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
			before := monotonic()
			c := openFast(t, s.addr, "early", false)
			after := monotonic()
			check(t, tr.Walk())
			events := readUntil(t, tr, has(1, s.addr, event.Queued))
			e := only(events, s.addr, event.Queued)[0]
			if e.State != event.SynRecv || e.Unread != 5 || e.Peer != c.local || e.Queued < before-1000 || e.Queued > after {
				t.Errorf("queued between %d and %d:\n%s", before, after, describe([]event.Event{e}))
			}
			time.Sleep(3 * sampleEvery)
			s.accept()
			events = readUntil(t, tr, has(1, s.addr, event.Accepted))
			e = only(events, s.addr, event.Accepted)[0]
			if wait, known := e.Wait(); e.Queued < before-1000 || e.Queued > after || !known || wait < 3*sampleEvery || e.Peer != c.local || e.State != event.SynRecv {
				t.Errorf("accepted:\n%s", describe([]event.Event{e}))
			}
			if m == Restricted {
				return
			}
			if counted := sampleOf(t, tr, s.addr); counted.Enqueued != 1 || counted.Accepted != 1 {
				t.Errorf("enqueued %d, accepted %d, want 1 and 1", counted.Enqueued, counted.Accepted)
			}
		})
	}, Fentry, Kprobe, Restricted)
}

// A deaf client that is gone answers the next SYN-ACK with RST.
func TestFastOpenDiesBeforeItsHandshakeEnds(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		inQuietNamespace(t, func() {
			s := listenFast(t)
			tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
			c := openFast(t, s.addr, "early", false)
			c.close()
			events := readUntil(t, tr, has(1, s.addr, event.Reset))
			e := only(events, s.addr, event.Reset)[0]
			if wait, known := e.Wait(); e.Errno != uint16(unix.ECONNRESET) || e.Peer != c.local || !known || wait <= 0 {
				t.Errorf("got %s", describe([]event.Event{e}))
			}
			if at := addressOf(t, tr, s.addr); at.Reset != 1 || at.CloseWait != 0 {
				t.Errorf("counted %+v, want one reset", at)
			}
		})
	}, Fentry, Kprobe, Restricted)
}

func TestFastOpenClientHangsUp(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		inQuietNamespace(t, func() {
			s := listenFast(t)
			tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
			c := openFast(t, s.addr, "early", true)
			time.Sleep(3 * sampleEvery)
			c.close()
			events := readUntil(t, tr, has(1, s.addr, event.CloseWait))
			if e := only(events, s.addr, event.CloseWait)[0]; e.Peer != c.local || e.Unread != 5 {
				t.Errorf("got %s", describe(events))
			}
			readAll(t, tr, 2*sampleEvery)
			s.accept()
			events = readUntil(t, tr, has(1, s.addr, event.Accepted))
			if e := only(events, s.addr, event.Accepted)[0]; e.Peer != c.local || e.State != event.CloseWaited {
				t.Errorf("got %s", describe(events))
			}
		})
	}, Fentry, Kprobe, Restricted)
}

// The failed handshake of an ordinary connection was never queued.
func TestFailedHandshakeIsNoDeath(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))(t)
		deaf(t, fd)
		if err := unix.Connect(fd, sockaddr(s.addr)); err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		unix.Close(fd)
		time.Sleep(1500 * time.Millisecond) // the next SYN-ACK is answered with RST
		last := connect(t, s.addr)
		last.close()
		events := readUntil(t, tr, has(1, s.addr, event.CloseWait))
		got := only(events, s.addr, event.CloseWait, event.Reset)
		if len(got) != 1 || got[0].Peer != last.local {
			t.Errorf("want the death of %s alone:\n%s", last.local, describe(got))
		}
	}, Fentry, Kprobe, Restricted)
}

// multipath opens an MPTCP socket; a kernel of the matrix lacks it before 6.1
// only.
func multipath(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		if f := preflight.Detect(); inMatrix() && f.AtLeast(6, 1) {
			t.Fatalf("this kernel should have MPTCP: %v", err)
		}
		t.Skipf("no MPTCP here: %v", err)
	}
	return fd
}

func listenMultipath(t *testing.T) *server {
	t.Helper()
	fd := multipath(t)
	check(t, unix.Bind(fd, sockaddr(netip.MustParseAddrPort("127.0.0.1:0"))))
	check(t, unix.Listen(fd, 8))
	s := &server{t: t, fd: fd, addr: localAddr(t, fd)}
	t.Cleanup(s.close)
	return s
}

func connectMultipath(t *testing.T, to netip.AddrPort) *client {
	t.Helper()
	fd := multipath(t)
	check(t, unix.Connect(fd, sockaddr(to)))
	c := &client{t: t, fd: fd, local: localAddr(t, fd)}
	t.Cleanup(c.close)
	return c
}

// What happens to a connection on an MPTCP listener is the same whether its
// client speaks MPTCP or not.
func TestMPTCPListener(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listenMultipath(t)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		readAll(t, tr, 2*sampleEvery) // the listener is met
		for name, dial := range map[string]func(*testing.T, netip.AddrPort) *client{
			"MPTCP client": connectMultipath,
			"TCP client":   func(t *testing.T, to netip.AddrPort) *client { return connect(t, to) },
		} {
			before := sampleOf(t, tr, s.addr)
			dead, aborted, alive := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
			readAll(t, tr, 3*sampleEvery)
			dead.close()
			events := readUntil(t, tr, has(1, s.addr, event.CloseWait))
			aborted.reset()
			events = append(events, readUntil(t, tr, has(1, s.addr, event.Reset))...)
			readAll(t, tr, 2*sampleEvery)
			for range 3 {
				s.accept()
			}
			events = append(events, readUntil(t, tr, has(3, s.addr, event.Accepted))...)
			events = append(events, readAll(t, tr, 2*sampleEvery)...)

			deaths := only(events, s.addr, event.CloseWait, event.Reset)
			if len(deaths) != 2 || deaths[0].Peer != dead.local || deaths[1].Peer != aborted.local {
				t.Errorf("%s: want the hang-up of %s and the reset of %s:\n%s", name, dead.local, aborted.local, describe(deaths))
			}
			accepted := only(events, s.addr, event.Accepted)
			want := map[netip.AddrPort]event.State{dead.local: event.CloseWaited, aborted.local: event.Close, alive.local: event.Established}
			for _, e := range accepted {
				if e.Peer.Port() == 0 {
					e.Peer = aborted.local // its subflow may have forgotten it
				}
				if e.State != want[e.Peer] {
					t.Errorf("%s: accepted, want state %s:\n%s", name, want[e.Peer], describe([]event.Event{e}))
				}
			}
			if len(accepted) != 3 {
				t.Errorf("%s: accepted %d, want 3:\n%s", name, len(accepted), describe(accepted))
			}
			if m == Restricted {
				continue
			}
			c := sampleOf(t, tr, s.addr)
			if c.Enqueued-before.Enqueued != 3 || c.Accepted-before.Accepted != 3 || c.Depth != 0 ||
				c.AcceptedCloseWait-before.AcceptedCloseWait != 1 || c.AcceptedReset-before.AcceptedReset != 1 {
				t.Errorf("%s: counted %+v", name, c)
			}
		}
	}, Fentry, Kprobe, Restricted)
}

func TestMPTCPListenerClosesWithQueued(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listenMultipath(t)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		for range 3 {
			connectMultipath(t, s.addr)
		}
		readAll(t, tr, 3*sampleEvery)
		s.close()
		events := readUntil(t, tr, has(3, s.addr, event.Purged))
		if deaths := only(events, s.addr, event.CloseWait, event.Reset); len(deaths) > 0 {
			t.Errorf("a purge is no death:\n%s", describe(deaths))
		}
	}, Fentry, Kprobe, Restricted)
}

// migrating makes a group of two listeners that take over each other's queues.
func migrating(t *testing.T) [2]*server {
	t.Helper()
	sysctl(t, "ipv4.tcp_migrate_req", "1")
	var group [2]*server
	at := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range group {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
		check(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		check(t, unix.Bind(fd, sockaddr(at)))
		check(t, unix.Listen(fd, 64))
		group[i] = &server{t: t, fd: fd, addr: localAddr(t, fd)}
		t.Cleanup(group[i].close)
		at = group[i].addr
	}
	return group
}

// A member that closes hands its queue to another one: nothing is purged, and
// waits go on from when the connections were first queued.
func TestQueueMovesToAnotherMember(t *testing.T) {
	if f := preflight.Detect(); !f.AtLeast(5, 14) {
		t.Skip("no migration before Linux 5.14")
	}
	everyMode(t, func(t *testing.T, m Mode) {
		inQuietNamespace(t, func() {
			const connections = 20
			group := migrating(t)
			tr := open(t, Options{Mode: m, Filter: onPort(group[0].addr.Port())})
			for range connections {
				connect(t, group[0].addr)
			}
			time.Sleep(100 * time.Millisecond)
			var moving uint64
			for _, c := range must(tr.Sample(false))(t).Listeners {
				if c.Inode == inodeOf(t, group[0].fd) {
					moving = c.Enqueued
				}
			}
			closing := inodeOf(t, group[0].fd)
			group[0].close()
			var from, to listener.Counted
			for _, c := range must(tr.Sample(false))(t).Listeners {
				if c.Inode == closing {
					from = c
				} else {
					to = c
				}
			}
			if moving == 0 || moving == connections {
				t.Fatalf("%d of %d connections were queued at one of two listeners", moving, connections)
			}
			if !from.Closed || from.MigratedOut != moving || from.Purged != 0 {
				t.Errorf("closed with %d in its queue: %+v", moving, from)
			}
			if to.MigratedIn != moving || to.Depth != connections {
				t.Errorf("want %d more in this queue: %+v", moving, to)
			}
			for range connections {
				group[1].accept()
			}
			events := readUntil(t, tr, has(connections, group[1].addr, event.Accepted))
			for _, e := range only(events, group[1].addr, event.Accepted) {
				if wait, known := e.Wait(); !known || wait < 100*time.Millisecond || e.ListenerID != to.ID {
					t.Errorf("want a wait from when it was first queued, and listener %d, not %d:\n%s", to.ID, e.ListenerID, describe([]event.Event{e}))
				}
			}
			if n := len(only(events, group[1].addr, event.Purged)); n > 0 {
				t.Errorf("%d purged", n)
			}
			c := sampleOf(t, tr, group[1].addr)
			if c.Enqueued+c.MigratedIn != c.Accepted || c.Depth != 0 {
				t.Errorf("the books do not balance: %+v", c)
			}
		})
	}, Fentry, Kprobe)
}

func inodeOf(t *testing.T, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Fstat(fd, &st))
	return uint32(st.Ino)
}
