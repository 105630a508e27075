package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Every way in which programs accept: each connection is reported once, with
// its wait, under the thread that took it.

// taking is one connection as the thread that accepted it saw it.
type taking struct {
	Peer                netip.AddrPort
	Accepting, Accepted int64 // ns of the clock of events: before and after
	PID, TID            uint32
	Comm                string
	Worker              bool // taken for that thread by one of the kernel's
}

// ledger is what the two ends of connections say of them, by the address of
// the client's.
type ledger struct {
	t        testing.TB
	tryAgain atomic.Int64 // accepts that found the queue empty

	mu      sync.Mutex
	made    map[netip.AddrPort]connectionTimes
	taken   map[netip.AddrPort][]taking
	all     int // of taken
	clients int // so far: each has an address of its own
}

func newLedger(t testing.TB) *ledger {
	return &ledger{t: t, made: map[netip.AddrPort]connectionTimes{}, taken: map[netip.AddrPort][]taking{}}
}

// connect makes n connections from each of some new clients, the next when the
// server has closed the one before.
func (l *ledger) connect(to netip.AddrPort, clients, n int) {
	l.t.Helper()
	var connecting sync.WaitGroup
	first := l.clients
	l.clients += clients
	for i := range clients {
		connecting.Go(func() {
			for j := range n {
				err := stampedConnection(to, first+i, j, func(local netip.AddrPort, before, acked int64) {
					l.mu.Lock()
					l.made[local] = connectionTimes{connecting: before, acknowledged: acked}
					l.mu.Unlock()
				})
				if err != nil {
					l.t.Error(err)
					return
				}
			}
		})
	}
	connecting.Wait()
}

func (l *ledger) add(one taking) {
	l.mu.Lock()
	l.taken[one.Peer] = append(l.taken[one.Peer], one)
	l.all++
	l.mu.Unlock()
}

// wait waits until n connections are taken.
func (l *ledger) wait(n int) {
	l.t.Helper()
	for range 4000 {
		l.mu.Lock()
		all := l.all
		l.mu.Unlock()
		if all >= n {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.t.Fatalf("%d of %d connections were accepted in 20 s", l.all, n)
}

// here is a taking by the calling thread, which must be locked.
func here(peer netip.AddrPort, accepting, accepted int64) taking {
	return taking{
		Peer: peer, Accepting: accepting, Accepted: accepted,
		PID: uint32(os.Getpid()), TID: uint32(unix.Gettid()), Comm: threadName(),
	}
}

// serve notes what this thread accepted, waits for the byte that clients send,
// and closes.
func (l *ledger) serve(fd int, accepting int64) {
	one, err := served(fd, accepting)
	if err != nil {
		l.t.Errorf("serve a connection: %v", err)
		return
	}
	l.add(one)
}

func served(fd int, accepting int64) (taking, error) {
	accepted := monotonic()
	defer unix.Close(fd)
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return taking{}, err
	}
	one := here(addrPortOf(peer), accepting, accepted)
	if err := pollIn(fd, -1); err != nil {
		return taking{}, err
	}
	var text [1]byte
	_, err = unix.Read(fd, text[:])
	return one, err
}

func addrPortOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// pollIn waits until the descriptor is readable, or as long as timeout, ms; a
// negative one is for ever.
func pollIn(fd, timeout int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
		if err != unix.EINTR {
			return err
		}
	}
}

// check says that the events are the ledger's connections, each once.
func (l *ledger) check(tr *Tracer, local netip.AddrPort, events []event.Event) {
	t := l.t
	t.Helper()
	sample, err := tr.Sample(false)
	check(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	reported := map[netip.AddrPort]int{}
	listeners := map[uint64]bool{}
	unseen := uint64(0)
	for _, e := range only(events, local, event.Accepted) {
		reported[e.Peer]++
		if e.ListenerID == 0 && e.Flags&event.ExitUnseen != 0 {
			unseen++
		} else {
			listeners[e.ListenerID] = true
		}
		made, known := l.made[e.Peer]
		if !known || len(l.taken[e.Peer]) != 1 {
			t.Errorf("made %t, taken %d times: %s", known, len(l.taken[e.Peer]), describe([]event.Event{e}))
			continue
		}
		took := l.taken[e.Peer][0]
		if took.Worker {
			checkWorker(t, &e, took)
		} else if e.PID != took.PID || e.TID != took.TID || e.Comm.String() != took.Comm {
			t.Errorf("taken by %s[%d/%d], reported %s", took.Comm, took.PID, took.TID, describe([]event.Event{e}))
		}
		wait, _ := e.Wait()
		lower := max(0, time.Duration(took.Accepting-made.acknowledged))
		upper := time.Duration(took.Accepted-made.connecting) + time.Microsecond
		if wait < lower || wait > upper {
			t.Errorf("wait %v is outside [%v, %v]: %s", wait, lower, upper, describe([]event.Event{e}))
		}
		if e.Time > took.Accepted {
			t.Errorf("reported as later than accept returned: %s", describe([]event.Event{e}))
		}
	}
	for peer := range l.made {
		if reported[peer] != 1 {
			t.Errorf("%s was reported %d times", peer, reported[peer])
		}
	}
	// A connection whose accept the kernel skipped is tied to its address.
	if skipped := lossesOf(sample)["recursion_misses"]; len(listeners) != 1 || listeners[0] || unseen > skipped {
		t.Errorf("one listener has the IDs %v, and it is not known of %d accepts, %d skipped", listeners, unseen, skipped)
	}
	for _, e := range events {
		if e.Kind == event.AcceptError && (e.Errno == uint16(unix.EAGAIN) || e.Errno == uint16(unix.EINTR)) {
			t.Errorf("no connection is no error: %s", describe([]event.Event{e}))
		}
	}
	for _, e := range sample.AcceptErrors {
		if e.Errno == uint16(unix.EAGAIN) || e.Errno == uint16(unix.EINTR) {
			t.Errorf("no connection is no error: %+v", e)
		}
	}
}

// threadName and setThreadName are of the calling thread, which must be locked.
func threadName() string {
	name, _ := os.ReadFile("/proc/thread-self/comm")
	return strings.TrimSpace(string(name))
}

func setThreadName(name string) {
	if err := os.WriteFile("/proc/thread-self/comm", []byte(name), 0); err != nil {
		panic("name the thread: " + err.Error()) // cannot fail for a thread of one's own
	}
}

// named runs fn in a thread with a name.
func named(name string, fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadName()
	setThreadName(name)
	defer setThreadName(before)
	fn()
}

// style is a way to accept. start makes a listener and threads that accept from
// it until stop is called.
type style struct {
	name        string
	nonblocking bool // it must have met EAGAIN
	// require skips where the kernel lacks what it lacks, and fails where it
	// should have it; nil: every kernel has it.
	require func(t *testing.T)
	start   func(t *testing.T, l *ledger) (addr netip.AddrPort, stop func())
}

// threads runs a loop that ends when the listener is shut down in some threads.
func threads(n int, loop func(l *ledger, s *server)) func(*testing.T, *ledger) (netip.AddrPort, func()) {
	return func(t *testing.T, l *ledger) (netip.AddrPort, func()) {
		s := listen(t, "127.0.0.1:0", 128)
		var running sync.WaitGroup
		for i := range n {
			running.Go(func() { named(fmt.Sprintf("acceptor-%d", i), func() { loop(l, s) }) })
		}
		return s.addr, func() {
			unix.Shutdown(s.fd, unix.SHUT_RD)
			running.Wait()
		}
	}
}

// blocking accepts by a call that blocks.
func blocking(accept func(fd int) (int, error)) func(*ledger, *server) {
	return func(l *ledger, s *server) {
		for acceptOnce(l, s, accept) {
		}
	}
}

// acceptOnce is false when there is nothing to accept any more.
func acceptOnce(l *ledger, s *server, accept func(fd int) (int, error)) bool {
	before := monotonic()
	fd, err := accept(s.fd)
	switch err {
	case nil:
		l.serve(fd, before)
		return true
	case unix.EINTR:
		return true
	case unix.EAGAIN:
		l.tryAgain.Add(1)
		return false
	case unix.EINVAL:
		return false // it was shut down
	default:
		l.t.Errorf("accept: %v", err)
		return false
	}
}

func acceptCall(fd int) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_ACCEPT, uintptr(fd), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func accept4Call(flags int) func(fd int) (int, error) {
	return func(fd int) (int, error) {
		conn, _, err := unix.Accept4(fd, flags)
		return conn, err
	}
}

// polling accepts all there is whenever wait says so; wait is made anew for
// each thread.
func polling(prepare func(l *ledger, fd int) (wait func(), end func())) func(*ledger, *server) {
	return func(l *ledger, s *server) {
		if err := unix.SetNonblock(s.fd, true); err != nil {
			l.t.Error(err)
			return
		}
		wait, end := prepare(l, s.fd)
		defer end()
		for !isShutDown(s.fd) {
			wait()
			for acceptOnce(l, s, accept4Call(unix.SOCK_CLOEXEC)) {
			}
		}
	}
}

func isShutDown(fd int) bool {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err != nil || listening == 0
}

func byPoll(_ *ledger, fd int) (wait, end func()) {
	return func() { pollIn(fd, -1) }, func() {}
}

// byEpoll waits in an epoll instance of the thread's own.
func byEpoll(events uint32) func(l *ledger, fd int) (wait, end func()) {
	return func(l *ledger, fd int) (wait, end func()) {
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			l.t.Error(err)
		}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
			l.t.Error(err)
		}
		return func() { unix.EpollWait(epoll, make([]unix.EpollEvent, 1), -1) }, func() { unix.Close(epoll) }
	}
}

// byGo accepts by Go's own poller, from several goroutines.
func byGo(multipath bool) func(*testing.T, *ledger) (netip.AddrPort, func()) {
	return func(t *testing.T, l *ledger) (netip.AddrPort, func()) {
		var config net.ListenConfig
		config.SetMultipathTCP(multipath)
		ln := must(config.Listen(context.Background(), "tcp4", "127.0.0.1:0"))(t)
		t.Cleanup(func() { ln.Close() })
		if multipath {
			requireMPTCP(t, ln.(*net.TCPListener))
		}
		var running sync.WaitGroup
		for i := range 3 {
			running.Go(func() {
				named(fmt.Sprintf("goroutine-%d", i), func() {
					for {
						before := monotonic()
						conn, err := ln.Accept()
						if err != nil {
							return // it was closed
						}
						after := monotonic()
						one := here(conn.RemoteAddr().(*net.TCPAddr).AddrPort(), before, after)
						var text [1]byte
						if _, err := conn.Read(text[:]); err != nil {
							l.t.Error(err)
						}
						l.add(one)
						conn.Close()
					}
				})
			})
		}
		return ln.Addr().(*net.TCPAddr).AddrPort(), func() {
			ln.Close()
			running.Wait()
		}
	}
}

// requireMPTCP fails when Go fell back to TCP on a kernel of the matrix that
// has MPTCP: Debian's have it since 5.16.
func requireMPTCP(t *testing.T, ln *net.TCPListener) {
	t.Helper()
	protocol := 0
	raw := must(ln.SyscallConn())(t)
	check(t, raw.Control(func(fd uintptr) {
		protocol, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	}))
	if protocol != unix.IPPROTO_MPTCP {
		lacking(t, 5, 16, "MPTCP")
	}
}

// lacking fails when a kernel of the matrix lacks what it has since a version,
// and skips the test elsewhere: the kernel of this host is its owner's.
func lacking(t *testing.T, major, minor int, what string) {
	t.Helper()
	if kernelIs(t, major, minor) && os.Getenv("ACCEPTWATCH_MODES") != "" {
		t.Fatalf("this kernel should have %s", what)
	}
	t.Skipf("this kernel has no %s", what)
}

// kernelIs says whether the kernel is of this version or a later one.
func kernelIs(t *testing.T, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	check(t, unix.Uname(&name))
	var is [2]int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &is[0], &is[1]); err != nil {
		t.Fatalf("read the kernel's version %q: %v", name.Release, err)
	}
	return is[0] > major || is[0] == major && is[1] >= minor
}

var styles = []style{
	{name: "accept", start: threads(3, blocking(acceptCall))},
	{name: "accept4 with flags", start: threads(3, blocking(accept4Call(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)))},
	{name: "poll and accept", nonblocking: true, start: threads(3, polling(byPoll))},
	{name: "epoll", nonblocking: true, start: threads(4, polling(byEpoll(unix.EPOLLIN)))},
	{name: "epoll, edge-triggered", nonblocking: true, start: threads(4, polling(byEpoll(unix.EPOLLIN|unix.EPOLLET)))},
	{name: "epoll, exclusive", nonblocking: true, start: threads(4, polling(byEpoll(unix.EPOLLIN|unix.EPOLLEXCLUSIVE)))},
	{name: "io_uring", require: requireRing, start: threads(3, byRing(oneAccept))},
	{name: "io_uring, multishot", require: requireMultishot, start: threads(1, byRing(multishotAccept))},
	{name: "io_uring, by a worker", require: requireRing, start: threads(1, byRing(workersAccept))},
	{name: "Go over TCP", start: byGo(false)},
	{name: "Go over MPTCP", start: byGo(true)},
}

func TestEveryStyleOfAcceptIsReported(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m})
		for _, st := range styles {
			t.Run(st.name, func(t *testing.T) {
				if st.require != nil {
					st.require(t)
				}
				const clients, each = 3, 20
				l := newLedger(t)
				addr, stop := st.start(t, l)
				stop = sync.OnceFunc(stop)
				defer stop()
				l.connect(addr, clients, each)
				l.wait(clients * each)
				events := readUntil(t, tr, has(clients*each, addr, event.Accepted))
				events = append(events, readAll(t, tr, 150*time.Millisecond)...)
				l.check(tr, addr, events)
				checkCounts(t, tr, addr, clients*each)
				if again := l.tryAgain.Load(); st.nonblocking && again == 0 {
					t.Error("no accept found the queue empty, so this shows nothing of EAGAIN")
				}
				stop()
			})
		}
	}, Fentry, Kprobe)
}

func TestTwoHundredThreadsBlockedSinceBeforeAttach(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const acceptors = 200
		s := listen(t, "127.0.0.1:0", 512)
		l := newLedger(t)
		again := make(chan struct{})
		var running sync.WaitGroup
		for i := range acceptors {
			running.Go(func() {
				named(fmt.Sprintf("blocked-%d", i), func() {
					acceptOnce(l, s, acceptCall)
					<-again
					acceptOnce(l, s, acceptCall)
				})
			})
		}
		waitBlocked(t, os.Getpid(), acceptors)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		// The first of each thread was entered before attach, the second after.
		l.connect(s.addr, 4, acceptors/4)
		l.wait(acceptors)
		events := readUntil(t, tr, has(acceptors, s.addr, event.Accepted))
		close(again)
		l.connect(s.addr, 4, acceptors/4)
		running.Wait()
		events = append(events, readUntil(t, tr, has(acceptors, s.addr, event.Accepted))...)
		events = append(events, readAll(t, tr, 150*time.Millisecond)...)
		l.check(tr, s.addr, events)
		checkCounts(t, tr, s.addr, 2*acceptors)
	}, Fentry, Kprobe)
}

// waitBlocked waits until n threads of a process are inside accept().
func waitBlocked(t *testing.T, pid, n int) {
	t.Helper()
	calls := map[string]bool{strconv.Itoa(unix.SYS_ACCEPT): true, strconv.Itoa(unix.SYS_ACCEPT4): true}
	inside := 0
	for range 200 {
		inside = 0
		threads := must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid)))(t)
		for _, thread := range threads {
			text, _ := os.ReadFile(thread)
			if number, _, _ := strings.Cut(string(text), " "); calls[number] {
				inside++
			}
		}
		if inside == n {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%d of %d threads block in accept()", inside, n)
}
