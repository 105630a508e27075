//go:build kernelbench

package probe

import (
	"math"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// measure makes the connections, a batch at a time, and returns the least of the
// batches' medians, in ns. With some numbers of open sockets most connections take
// a hundred instructions more, whatever is attached, so each batch sees another number.
func measure(t *testing.T) int64 {
	t.Helper()
	var held []int
	least := int64(math.MaxInt64)
	costs := make([]int64, connections/batches)
	for range batches {
		time.Sleep(timeWaited)
		l := newTraffic(t, [4]byte{127, 0, 0, 1}, benchPort)
		l.make(costs)
		l.close()
		slices.Sort(costs)
		least = min(least, costs[len(costs)/2])
		for range 7 {
			held = append(held, must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))(t))
		}
	}
	for _, fd := range held {
		check(t, unix.Close(fd))
	}
	return least
}

// traffic makes connections to a listener of its own.
type traffic struct {
	*server
	to unix.RawSockaddrInet4
}

func newTraffic(t *testing.T, addr [4]byte, port uint16) *traffic {
	t.Helper()
	l := &traffic{server: listen(t, netip.AddrPortFrom(netip.AddrFrom4(addr), port).String(), 128)}
	l.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr}
	*(*[2]byte)(unsafe.Pointer(&l.to.Port)) = [2]byte{byte(port >> 8), byte(port)}
	return l
}

// make makes as many connections as there are costs, one at a time, and writes
// what each took, in ns. It makes bare system calls: Go's scheduler would take part
// in others.
func (l *traffic) make(costs []int64) {
	l.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	start := time.Now()
	before := time.Since(start)
	for i := range costs {
		if errno := connectAndAccept(l.fd, &l.to); errno != 0 {
			l.t.Fatal("make a connection:", errno)
		}
		now := time.Since(start)
		costs[i] = int64(now - before)
		before = now
	}
}

// connectAndAccept connects to the listener, accepts and closes both ends, the
// client first.
func connectAndAccept(listener int, to *unix.RawSockaddrInet4) unix.Errno {
	client, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CONNECT, client, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to)); errno != 0 {
		return errno
	}
	accepted, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CLOSE, client, 0, 0); errno != 0 {
		return errno
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CLOSE, accepted, 0, 0)
	return errno
}
