package probe

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Connections that come into the queue late, or die in it of something else
// than their client's end.

// listenWith is listen with options set before bind.
func listenWith(t *testing.T, addr string, backlog int, prepare func(fd int)) *server {
	t.Helper()
	at := netip.MustParseAddrPort(addr)
	fd := must(unix.Socket(family(at.Addr()), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	s := &server{t: t, fd: fd}
	t.Cleanup(s.close)
	prepare(fd)
	check(t, unix.Bind(fd, sockaddr(at)))
	check(t, unix.Listen(fd, backlog))
	s.addr = localAddr(t, fd)
	return s
}

// option is a socket option with an int.
type option struct{ level, name, value int }

func setOptions(t *testing.T, fd int, options ...option) {
	t.Helper()
	for _, o := range options {
		check(t, unix.SetsockoptInt(fd, o.level, o.name, o.value))
	}
}

// becomesReady waits until there is a connection to accept, and returns the
// last moment at which there was none.
func (s *server) becomesReady() (none int64) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		before := monotonic()
		if s.ready() {
			return none
		}
		none = before
		time.Sleep(time.Millisecond)
	}
	s.t.Fatal("no connection came into the queue in 20 s")
	return 0
}

func (s *server) ready() bool {
	s.t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if err == unix.EINTR {
		return s.ready()
	}
	check(s.t, err)
	return n > 0
}

// A deferred connection is in the queue from its first data on, or from the end
// of the time for it, and not from the handshake on.
func TestDeferredAcceptWaitsFromItsQueueing(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m})
		for _, test := range []struct {
			name    string
			seconds int
			data    bool
		}{
			{"data comes", 60, true},
			{"its time ends", 1, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				s := listenWith(t, "127.0.0.1:0", 8, func(fd int) {
					setOptions(t, fd, option{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, test.seconds})
				})
				c := connect(t, s.addr)
				if s.ready() {
					t.Fatal("the connection was queued at once")
				}
				if test.data {
					checkNothingQueued(t, tr, s.addr)
					c.send("hello")
				}
				none := s.becomesReady()
				events := readAll(t, tr, 3*sampleEvery) // a sampling mode meets it
				accepting := monotonic()
				s.accept()
				events = append(events, readUntil(t, tr, has(1, s.addr, event.Accepted))...)
				e := only(events, s.addr, event.Accepted)[0]
				if e.Peer != c.local || e.State != event.Established || e.Queued < none-1000 || e.Queued > accepting || e.Time < accepting {
					t.Errorf("queued between %d and %d, accepted after that: %d %d %s", none, accepting, e.Queued, e.Time, describe([]event.Event{e}))
				}
				checkAcceptorOf(t, m, &e)
				checkEnqueued(t, tr, m, s.addr, 1)
			})
		}
	}, Fentry, Kprobe, Restricted)
}

func checkNothingQueued(t *testing.T, tr *Tracer, at netip.AddrPort) {
	t.Helper()
	events := readAll(t, tr, 3*sampleEvery)
	check(t, tr.Walk())
	events = append(events, readUntil(t, tr, has(1, at, event.Listener))...)
	if early := only(events, at, event.Queued, event.Accepted); len(early) > 0 {
		t.Errorf("reported before it was queued:\n%s", describe(early))
	}
	for _, e := range only(events, at, event.Listener) {
		if e.Depth != 0 {
			t.Errorf("depth %d with an empty queue", e.Depth)
		}
	}
}

// checkAcceptorOf says that the event names this process, or nobody and that it
// was sampled, where accept() cannot be watched.
func checkAcceptorOf(t *testing.T, m Mode, e *event.Event) {
	t.Helper()
	sampled := e.Flags&event.Sampled != 0
	nobody := e.PID == 0 && e.TID == 0 && e.Comm == event.Comm{}
	if sampled != (m == Restricted) || nobody != (m == Restricted) || !nobody && int(e.PID) != unix.Getpid() {
		t.Errorf("sampled %t, by %s[%d/%d]: %s", sampled, e.Comm, e.PID, e.TID, describe([]event.Event{*e}))
	}
}

// checkEnqueued says how many connections the kernel counted into the queue:
// by listener, and in restricted mode by address.
func checkEnqueued(t *testing.T, tr *Tracer, m Mode, at netip.AddrPort, want uint64) {
	t.Helper()
	sample, err := tr.Sample(false)
	check(t, err)
	var byListener, byAddress uint64
	for _, l := range sample.Listeners {
		if l.Key.Addr == at {
			byListener += l.Enqueued
		}
	}
	for _, a := range sample.Addresses {
		if a.Key.Addr == at {
			byAddress += a.Enqueued
		}
	}
	got, other := byListener, byAddress
	if m == Restricted {
		got, other = other, got
	}
	if got != want || other != 0 {
		t.Errorf("%d enqueued by listener, %d by address, want %d", byListener, byAddress, want)
	}
}

// death is an end that a queued connection finds.
type death struct {
	name    string
	options []option // of the listener; its connections inherit them
	after   bool     // the client's FIN comes first
	end     func(t *testing.T, c *client)
	errno   unix.Errno
}

func deaths() []death {
	keepalive := func(probes int, more ...option) []option {
		return append([]option{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes},
		}, more...)
	}
	return []death{
		{name: "keepalive", options: keepalive(1), end: goSilent, errno: unix.ETIMEDOUT},
		{name: "keepalive after FIN", options: keepalive(1), after: true, end: goSilent, errno: unix.ETIMEDOUT},
		{name: "user timeout", options: keepalive(100, option{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 500}), end: goSilent, errno: unix.ETIMEDOUT},
		{name: "destroyed", end: destroyPeerOf, errno: unix.ECONNABORTED},
		{name: "destroyed after FIN", after: true, end: destroyPeerOf, errno: unix.ECONNABORTED},
	}
}

func TestDeathWhileQueuedNamesItsError(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m})
		// Together, as the timers of some take seconds.
		table := deaths()
		servers, clients := make([]*server, len(table)), make([]*client, len(table))
		for i, d := range table {
			servers[i] = listenWith(t, "127.0.0.1:0", 8, func(fd int) { setOptions(t, fd, d.options...) })
			clients[i] = connect(t, servers[i].addr)
			if d.after {
				check(t, unix.Shutdown(clients[i].fd, unix.SHUT_WR))
				readUntil(t, tr, has(1, servers[i].addr, event.CloseWait))
			}
		}
		readAll(t, tr, 3*sampleEvery)
		for i, d := range table {
			d.end(t, clients[i])
		}
		events := readUntil(t, tr, func(events []event.Event) bool {
			for _, s := range servers {
				if !has(1, s.addr, event.Reset)(events) {
					return false
				}
			}
			return true
		})
		for _, s := range servers {
			s.accept()
		}
		for i, d := range table {
			t.Run(d.name, func(t *testing.T) { checkDeath(t, tr, m, &d, servers[i].addr, clients[i].local, &events) })
		}
	}, Fentry, Kprobe, Restricted)
}

func checkDeath(t *testing.T, tr *Tracer, m Mode, d *death, at, peer netip.AddrPort, events *[]event.Event) {
	t.Helper()
	if !has(1, at, event.Accepted)(*events) {
		*events = append(*events, readUntil(t, tr, has(1, at, event.Accepted))...)
	}
	dead := only(*events, at, event.Reset, event.CloseWait, event.Purged)
	if len(dead) != 1 {
		t.Fatalf("want one reset:\n%s", describe(dead))
	}
	if e := dead[0]; e.Peer != peer || e.Kind != event.Reset || e.State != event.Close || e.Errno != uint16(d.errno) || (e.Flags&event.AfterFIN != 0) != d.after {
		t.Errorf("want errno %d, after FIN %t: %s", d.errno, d.after, describe(dead))
	}
	for _, e := range only(*events, at, event.Accepted) {
		if e.State != event.Close || e.Peer != peer {
			t.Errorf("accepted dead: %s", describe([]event.Event{e}))
		}
		checkAcceptorOf(t, m, &e)
	}
	var finished uint64
	if d.after {
		finished = 1
	}
	if got := addressOf(t, tr, at); got.Reset != 1 || got.CloseWait != finished || got.ResetAfterFIN != finished {
		t.Errorf("counted %+v", got)
	}
	if got := sampleOf(t, tr, at); got.Accepted != 1 || got.AcceptedReset != 1 || got.AcceptedCloseWait != 0 {
		t.Errorf("counted %+v", got)
	}
}

// goSilent makes the client's socket drop all that comes to it, so that it
// answers nothing any more.
func goSilent(t *testing.T, c *client) {
	t.Helper()
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	check(t, unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing}))
}

// destroyPeerOf does to the server's end what ss -K does: CONFIG_INET_DIAG_DESTROY.
func destroyPeerOf(t *testing.T, c *client) {
	t.Helper()
	server, err := unix.Getpeername(c.fd)
	check(t, err)
	conn := must(netlink.Dial(unix.NETLINK_SOCK_DIAG, nil))(t)
	defer conn.Close()
	from, to := addrPortOf(server), c.local
	// struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h).
	request := make([]byte, 56)
	request[0], request[1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.LittleEndian.PutUint32(request[4:], 1<<event.Established|1<<event.CloseWaited)
	binary.BigEndian.PutUint16(request[8:], from.Port())
	binary.BigEndian.PutUint16(request[10:], to.Port())
	copy(request[12:], from.Addr().AsSlice())
	copy(request[28:], to.Addr().AsSlice())
	binary.LittleEndian.PutUint64(request[48:], ^uint64(0)) // whatever its cookie
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DESTROY, Flags: netlink.Request | netlink.Acknowledge},
		Data:   request,
	})
	if err != nil {
		lacking(t, 4, 9, "CONFIG_INET_DIAG_DESTROY ("+err.Error()+")")
	}
}
