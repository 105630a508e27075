//go:build kernel

package kerneltest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a listening socket of the test that nobody accepts from, unless
// the test does.
type listener struct {
	t    *testing.T
	fd   int
	addr string
}

func listen(t *testing.T, addr string, backlog int) *listener {
	t.Helper()
	at, err := netip.ParseAddrPort(addr)
	check(t, err)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	check(t, unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}))
	check(t, unix.Listen(fd, backlog))
	bound, err := unix.Getsockname(fd)
	check(t, err)
	return &listener{t, fd, netip.AddrPortFrom(at.Addr(), uint16(bound.(*unix.SockaddrInet4).Port)).String()}
}

func (l *listener) accept() {
	l.t.Helper()
	fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
	check(l.t, err)
	l.t.Cleanup(func() { unix.Close(fd) })
}

// dialed is a connection of the test, made between two moments of its clock.
type dialed struct {
	*net.TCPConn
	addr          string
	before, after time.Time
}

func dial(t *testing.T, addr string) *dialed {
	t.Helper()
	d := &dialed{before: time.Now()}
	c, err := net.DialTimeout("tcp4", addr, patience)
	check(t, err)
	d.TCPConn = c.(*net.TCPConn)
	// The client has its answer before the server has queued the connection:
	// when a byte is acknowledged, it has.
	_, err = d.Write([]byte("x"))
	check(t, err)
	raw, err := d.SyscallConn()
	check(t, err)
	await(t, "acknowledgement", func() bool {
		unsent := -1
		check(t, raw.Control(func(fd uintptr) { unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }))
		check(t, err)
		return unsent == 0
	})
	d.after = time.Now()
	d.addr = c.LocalAddr().String()
	t.Cleanup(func() { c.Close() })
	return d
}

// reset closes with RST.
func (d *dialed) reset(t *testing.T) {
	t.Helper()
	check(t, d.SetLinger(0))
	check(t, d.Close())
}
