package demo

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// backlog is what the server asks listen(2) for. The kernel lets one more in,
// because it tests the depth with > (sk_acceptq_is_full, include/net/sock.h).
const backlog = 16

// Requests, with the newline that ends them.
const (
	ordinaryRequest = "hello\n"
	slowRequest     = "slow\n"
	answer          = "done\n"
)

// What the server found of a peer when it looked at a connection.
const (
	peerAlive = "alive"
	peerFIN   = "fin"
	peerRST   = "rst"
)

// Serve is the server process. It has one thread, which does one thing after
// the other, as many real ones do: accept, read the request, answer, close. A
// slow request makes it wait for a line on in, its stand-in for a database.
//
// On out it writes "listening ADDR:PORT", and for each connection
// "accepted PEERPORT alive|fin|rst" before it answers. It runs until it is
// killed, or an error that is not one connection's.
func Serve(in *os.File, out io.Writer) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nameProcess("aw-demo-server")

	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("make the demo's listener: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind the demo's listener to 127.0.0.1: %w", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("ask for the listener's port: %w", err)
	}
	fmt.Fprintf(out, "listening %v\n", addrPort(bound))

	for {
		conn, peer, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		err = handle(conn, addrPort(peer).Port(), int(in.Fd()), out)
		unix.Close(conn)
		if err != nil {
			return err
		}
	}
}

// nameProcess names the process, and the thread that accepts, in what traces
// show. It is for readers only, so nothing depends on it.
func nameProcess(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(unsafe.StringData(name+"\x00"))), 0, 0, 0)
}

// handle serves one connection. Its error is one of in or out.
func handle(conn int, peerPort uint16, in int, out io.Writer) error {
	// Every client has sent its request; the limit is for strangers.
	limit := unix.Timeval{Sec: 2}
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)

	buf := make([]byte, 64)
	n, err := readOnce(conn, buf)
	peer := peerAlive
	switch {
	case errors.Is(err, unix.ECONNRESET):
		peer = peerRST
	case err == nil && n > 0:
		peer = look(conn)
	default:
		peer = peerFIN
	}
	if _, err := fmt.Fprintf(out, "accepted %d %s\n", peerPort, peer); err != nil {
		return fmt.Errorf("report a connection: %w", err)
	}
	if peer != peerAlive {
		return nil
	}
	if string(buf[:max(n, 0)]) == slowRequest {
		// Not through os.File: this thread must be the one that blocks.
		if _, err := readOnce(in, make([]byte, 1)); err != nil {
			return fmt.Errorf("wait in the slow request: %w", err)
		}
	}
	_, _ = unix.SendmsgN(conn, []byte(answer), nil, nil, unix.MSG_NOSIGNAL)
	return nil
}

// readOnce reads again when a signal came in between: Go's runtime sends some to
// its own threads, and a receive with SO_RCVTIMEO is not restarted (signal(7)).
func readOnce(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// look finds out what became of the peer of a connection whose request was
// read: the error or the end of file comes after the data.
func look(conn int) string {
	n, _, err := unix.Recvfrom(conn, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.ECONNRESET):
		return peerRST
	case err == nil && n == 0:
		return peerFIN
	default:
		return peerAlive
	}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	v4, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port))
}
