package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/preflight"
)

// These tests attach to the running kernel. In the kernels of the matrix
// (ACCEPTWATCH_MODES names the modes that must work there) a mode that does
// not work fails them; elsewhere they run in every mode that this host allows,
// and as an ordinary user in none.

// everyMode runs the test in each of the modes given that it is for.
func everyMode(t *testing.T, test func(*testing.T, Mode), modes ...Mode) {
	t.Helper()
	demanded := os.Getenv("ACCEPTWATCH_MODES")
	if os.Geteuid() != 0 {
		if demanded != "" {
			t.Fatalf("modes %s must work, and attaching needs root", demanded)
		}
		t.Skip("attaching needs root")
	}
	if demanded != "" {
		for m := range strings.SplitSeq(demanded, ",") {
			if !slices.Contains([]Mode{Fentry, Kprobe, Restricted}, Mode(m)) {
				t.Fatalf("ACCEPTWATCH_MODES names %q, which is no mode", m)
			}
			if slices.Contains(modes, Mode(m)) {
				t.Run(m, func(t *testing.T) { test(t, Mode(m)) })
			}
		}
		return
	}
	features := preflight.Detect()
	for _, m := range modes {
		if _, err := MakePlan(features, m); err == nil {
			t.Run(string(m), func(t *testing.T) { test(t, m) })
		}
	}
}

// open attaches for the time of the test.
func open(t *testing.T, o Options) *Tracer {
	t.Helper()
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	if tr.Canary().Err != nil {
		t.Fatal("canary:", tr.Canary().Err)
	}
	if err := tr.Walk(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// readUntil collects events until done says so. How long that may take says nothing
// but that it never will: emulated machines are slow.
func readUntil(t *testing.T, tr *Tracer, done func([]event.Event) bool) []event.Event {
	t.Helper()
	var events []event.Event
	deadline := time.Now().Add(time.Minute)
	for !done(events) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out; seen so far:\n%s", describe(events))
		}
		if err := tr.Read(func(e *event.Event) { events = append(events, *e) }); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// readAll collects what comes within some time.
func readAll(t *testing.T, tr *Tracer, during time.Duration) []event.Event {
	t.Helper()
	end := time.Now().Add(during)
	return readUntil(t, tr, func([]event.Event) bool { return time.Now().After(end) })
}

func describe(events []event.Event) string {
	var b strings.Builder
	for i := range events {
		e := &events[i]
		if e.Kind == event.Listener {
			continue
		}
		wait, known := e.Wait()
		fmt.Fprintf(&b, "%s local %s peer %s state %s wait %v/%t depth %d/%d at entry %d unread %d by %s[%d/%d] flags %#x errno %d netns %d\n",
			e.Kind, e.Local, e.Peer, e.State, wait, known, e.Depth, e.Backlog, e.DepthAtEntry, e.Unread, e.Comm, e.PID, e.TID, e.Flags, e.Errno, e.NetNS)
	}
	return b.String()
}

// only keeps the events of these kinds at the address.
func only(events []event.Event, local netip.AddrPort, kinds ...event.Kind) []event.Event {
	var kept []event.Event
	for _, e := range events {
		if e.Local == local && slices.Contains(kinds, e.Kind) {
			kept = append(kept, e)
		}
	}
	return kept
}

// has says whether there are n events of the kinds at the address.
func has(n int, local netip.AddrPort, kinds ...event.Kind) func([]event.Event) bool {
	return func(events []event.Event) bool { return len(only(events, local, kinds...)) >= n }
}

// server is a listening socket without any runtime behind it.
type server struct {
	t    testing.TB
	fd   int
	addr netip.AddrPort
}

func listen(t testing.TB, addr string, backlog int) *server {
	t.Helper()
	at := netip.MustParseAddrPort(addr)
	fd := must(unix.Socket(family(at.Addr()), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	check(t, unix.Bind(fd, sockaddr(at)))
	check(t, unix.Listen(fd, backlog))
	s := &server{t: t, fd: fd, addr: localAddr(t, fd)}
	t.Cleanup(s.close)
	return s
}

func (s *server) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// accept takes one connection, and closes it after the test.
func (s *server) accept() int {
	s.t.Helper()
	fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
	check(s.t, err)
	s.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// client is a connected socket.
type client struct {
	t     testing.TB
	fd    int
	local netip.AddrPort
}

// connect opens a connection to the address; it is closed after the test.
func connect(t testing.TB, to netip.AddrPort) *client {
	t.Helper()
	fd := must(unix.Socket(family(to.Addr()), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	check(t, unix.Connect(fd, sockaddr(to)))
	c := &client{t: t, fd: fd, local: localAddr(t, fd)}
	t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// reset closes with RST.
func (c *client) reset() {
	check(c.t, unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	c.close()
}

func (c *client) send(text string) {
	_, err := unix.Write(c.fd, []byte(text))
	check(c.t, err)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func localAddr(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	switch a := must(unix.Getsockname(fd))(t).(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	t.Fatal("the socket has no address")
	return netip.AddrPort{}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inOtherNamespace runs fn on a thread in a network namespace of its own, with
// its loopback device up. Sockets made there stay there.
func inOtherNamespace(t *testing.T, fn func()) {
	t.Helper()
	check(t, onNewThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		fn()
		return nil
	}))
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// sampleOf finds the counts of the listener at the address.
func sampleOf(t *testing.T, tr *Tracer, at netip.AddrPort) *listener.Counted {
	t.Helper()
	s, err := tr.Sample(true)
	check(t, err)
	for i := range s.Listeners {
		if s.Listeners[i].Key.Addr == at {
			return &s.Listeners[i]
		}
	}
	t.Fatalf("no listener at %s in the sample: %+v", at, s.Listeners)
	return nil
}

func addressOf(t *testing.T, tr *Tracer, at netip.AddrPort) listener.AtAddress {
	t.Helper()
	s, err := tr.Sample(false)
	check(t, err)
	for _, a := range s.Addresses {
		if a.Key.Addr == at {
			return a
		}
	}
	t.Fatalf("no counts at %s in the sample: %+v", at, s.Addresses)
	return listener.AtAddress{}
}

func onPort(port uint16) filter.Filter {
	return filter.Filter{Ports: []filter.PortRange{{First: port, Last: port}}}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := nothingLeft(); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// nothingLeft fails when programs or maps are still open.
func nothingLeft() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	var left []error
	for _, e := range entries {
		name, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.Contains(name, "bpf") && !strings.HasPrefix(name, "/") {
			left = append(left, fmt.Errorf("descriptor %s was left open: %s", e.Name(), name))
		}
	}
	return errors.Join(left...)
}
