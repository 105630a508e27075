package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/netns"
)

func TestMain(m *testing.M) {
	before := openDescriptors()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if after := openDescriptors(); after > before+2 { // the poller's own two
		fmt.Fprintf(os.Stderr, "leaked descriptors: %d before, %d after\n", before, after)
		code = 1
	}
	os.Exit(code)
}

func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}

// listener is a socket of its own rather than a net.Listener, for an exact
// backlog and so that nothing accepts unless told to.
type listener struct {
	t    testing.TB
	fd   int
	addr netip.AddrPort
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

func socket(t testing.TB, addr netip.Addr) int {
	t.Helper()
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal("socket:", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func listen(t testing.TB, addr string, backlog int, options ...func(fd int) error) *listener {
	t.Helper()
	l := &listener{t: t, addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0)}
	l.fd = socket(t, l.addr.Addr())
	for _, option := range options {
		if err := option(l.fd); err != nil {
			t.Fatal("set listener's option:", err)
		}
	}
	if err := unix.Bind(l.fd, sockaddr(l.addr)); err != nil {
		t.Fatal("bind:", err)
	}
	if err := unix.Listen(l.fd, backlog); err != nil {
		t.Fatal("listen:", err)
	}
	l.addr = netip.AddrPortFrom(l.addr.Addr(), localAddr(t, l.fd).Port())
	return l
}

func localAddr(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal("getsockname:", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	t.Fatalf("unexpected address %T", sa)
	return netip.AddrPort{}
}

// connect makes a client of the listener. A client that is closed before the
// test ends is closed with unix.Shutdown, so that its descriptor stays ours.
func (l *listener) connect(to string) (fd int) {
	l.t.Helper()
	addr := netip.AddrPortFrom(netip.MustParseAddr(to), l.addr.Port())
	fd = socket(l.t, addr.Addr())
	if err := unix.Connect(fd, sockaddr(addr)); err != nil {
		l.t.Fatal("connect:", err)
	}
	return fd
}

func (l *listener) accept() (fd int) {
	l.t.Helper()
	fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		l.t.Fatal("accept:", err)
	}
	l.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func inodeOf(t testing.TB, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal("fstat:", err)
	}
	return uint32(st.Ino)
}

// port is the query for the server's side of a listener's connections.
func (l *listener) query(ext Ext, states ...State) Query {
	return Query{
		Ports:  []PortRange{{l.addr.Port(), l.addr.Port()}},
		States: States(states...),
		Ext:    ext,
	}
}

func snapshot(t testing.TB, q Query) []Socket {
	t.Helper()
	all, err := Snapshot(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func one(t testing.TB, q Query) Socket {
	t.Helper()
	all := snapshot(t, q)
	if len(all) != 1 {
		t.Fatalf("got %d sockets, want 1: %+v", len(all), all)
	}
	return all[0]
}

// disconnect is connect() to AF_UNSPEC, for which x/sys/unix has no Sockaddr.
// With SO_LINGER on and zero, an open connection is reset by it.
func disconnect(fd int) error {
	var raw unix.RawSockaddr // family 0 is AF_UNSPEC
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&raw)), unsafe.Sizeof(raw))
	if errno != 0 {
		return errno
	}
	return nil
}

// inNewNS runs setup on a thread in a new network namespace, and tearDown when
// the test ends. The thread goes home afterwards: it may be the first one, which
// cannot be thrown away.
func inNewNS(t testing.TB, setup func() error, tearDown func()) netns.NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	type made struct {
		ns  netns.NS
		err error
	}
	ready, done, left := make(chan made, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			ready <- made{err: err}
			return
		}
		defer unix.Close(home)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- made{err: err}
			return
		}
		ns, err := netns.Current()
		ready <- made{ns, errors.Join(err, setup())}
		<-done
		tearDown()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	m := <-ready
	t.Cleanup(func() { close(done); <-left })
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m.ns
}
