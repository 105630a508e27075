//go:build kernelbench

package probe

import (
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/growth"
)

// What tracing adds to a connection must not depend on how many listeners there
// are, nor on how many connections wait in the queue. It needs a guest that
// counts instructions as nanoseconds.
func TestKernelGrowth(t *testing.T) {
	requireInstructionCount(t)
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 18, Max: 1 << 18}))
	check(t, os.WriteFile("/proc/sys/net/core/somaxconn", []byte("131072"), 0o644))
	// A SYN cookie, or a SYN that is dropped, would be another connection.
	check(t, os.WriteFile("/proc/sys/net/ipv4/tcp_max_syn_backlog", []byte("131072"), 0o644))
	kernel := strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))(t)))
	where := "In a VM that counts instructions, kernel " + kernel + ", mode fentry, an event for each connection"
	t.Run("listeners", func(t *testing.T) {
		var all []netip.AddrPort
		grows(t, where, "listeners", []int{1, 10, 100, 1000, 10_000, 100_000}, func(n int) []ends {
			for len(all) < n {
				at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(len(all) >> 16), byte(len(all) >> 8)}), uint16(10_000+len(all)%256))
				servers[at] = listen(t, at.String(), 128).fd
				all = append(all, at)
			}
			var some []ends
			for i := range min(n, growthConnections) {
				at := all[i*n/min(n, growthConnections)]
				some = append(some, endsOf(servers[at], at))
			}
			return some
		})
	})
	t.Run("depth", func(t *testing.T) {
		s := listen(t, "127.0.0.1:8000", 1<<17)
		queued := 0
		grows(t, where, "depth of the queue", []int{1, 10, 100, 1000, 10_000, 65_535}, func(n int) []ends {
			for ; queued < n; queued++ {
				fill(t, s.addr, byte(2+queued/10_000))
			}
			return []ends{endsOf(s.fd, s.addr)}
		})
	})
}

const growthConnections = 500 // connections, of which the median is taken

var servers = map[netip.AddrPort]int{}

// ends are a listener and its address.
type ends struct {
	listener int
	to       unix.RawSockaddrInet4
}

func endsOf(fd int, at netip.AddrPort) ends {
	e := ends{fd, unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: at.Addr().As4()}}
	*(*[2]byte)(unsafe.Pointer(&e.to.Port)) = [2]byte{byte(at.Port() >> 8), byte(at.Port())}
	return e
}

// fill connects from 127.0.0.HOST, and leaves the connection in the queue.
func fill(t *testing.T, to netip.AddrPort, host byte) {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))(t)
	check(t, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
	check(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, host}}))
	check(t, unix.Connect(fd, sockaddr(to)))
	t.Cleanup(func() { unix.Close(fd) })
}

// grows measures connections without and with the tracer at each size.
func grows(t *testing.T, where, by string, sizes []int, prepare func(n int) []ends) {
	s := growth.Series{Cost: "tracing a connection, in the kernel", Unit: "instructions", By: by, Where: where}
	bare := growth.Series{Cost: "the connection itself", Unit: "instructions", By: by, Where: where}
	for _, n := range sizes {
		at := prepare(n)
		without := settled(t, at)
		tr := must(Open(Options{Mode: Fentry, RingSize: 64 << 20}))(t)
		check(t, tr.Walk())
		for range 3 {
			check(t, tr.Read(func(*event.Event) {}))
		}
		with := settled(t, at)
		for _, loss := range tr.losses() {
			t.Errorf("%d %s: %d %s", n, by, loss.Count, loss.Text)
		}
		check(t, tr.Close())
		fmt.Printf("%d %s: %d instructions a connection, %d with the tracer\n", n, by, without, with)
		s.Points = append(s.Points, growth.Point{Size: float64(n), Cost: float64(with - without)})
		bare.Points = append(bare.Points, growth.Point{Size: float64(n), Cost: float64(without)})
	}
	check(t, s.Print(os.Stdout))
	check(t, bare.Print(os.Stdout))
}

// settled is the least of several medians: the first connection of a listener takes
// a histogram.
func settled(t *testing.T, at []ends) int64 {
	t.Helper()
	least := medianAmong(t, at)
	for range 2 {
		time.Sleep(timeWaited)
		least = min(least, medianAmong(t, at))
	}
	return least
}

// medianAmong makes connections to the listeners in turn, one at a time, and
// gives the median of their costs in ns. Of a queue with entries, accept takes the
// oldest one, so the clients stay until the test ends: none dies in the queue, as to
// close what is dead takes longer.
func medianAmong(t *testing.T, at []ends) int64 {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	costs, held := make([]int64, growthConnections), make([]uintptr, 0, growthConnections)
	start := time.Now()
	before := time.Since(start)
	for i := range costs {
		e := &at[i%len(at)]
		client, errno := accepted(e.listener, &e.to)
		if errno != 0 {
			t.Fatal("make a connection:", errno)
		}
		held = append(held, client)
		now := time.Since(start)
		costs[i] = int64(now - before)
		before = now
	}
	t.Cleanup(func() {
		for _, client := range held {
			unix.Close(int(client))
		}
	})
	slices.Sort(costs)
	return costs[len(costs)/2]
}

// clients is how many connected so far.
var clients int

// accepted connects to the listener, accepts and closes what was accepted. The client
// has an address and a port that no other has had: to look for a port that is free
// takes the longer, the more of those that come next are taken.
func accepted(listener int, to *unix.RawSockaddrInet4) (client uintptr, errno unix.Errno) {
	client, _, errno = unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		return client, errno
	}
	from := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 3, 0, byte(clients / 10_000)}}
	*(*uint16)(unsafe.Pointer(&from.Port)) = bits.ReverseBytes16(uint16(20_000 + clients%10_000))
	clients++
	if _, _, errno = unix.RawSyscall(unix.SYS_BIND, client, uintptr(unsafe.Pointer(&from)), unsafe.Sizeof(from)); errno != 0 {
		return client, errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CONNECT, client, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to)); errno != 0 {
		return client, errno
	}
	server, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, 0, 0, 0)
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_CLOSE, server, 0, 0)
	}
	return client, errno
}
