package probe

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// inQuietNamespace runs fn in a network namespace of its own, whose counts
// nobody else moves.
func inQuietNamespace(t *testing.T, fn func()) {
	t.Helper()
	inOtherNamespace(t, func() {
		stayInNamespace(t)
		fn()
	})
}

// tcpExt reads the kernel's counts of this thread's network namespace.
func tcpExt(t *testing.T) map[string]int {
	t.Helper()
	text := string(must(os.ReadFile("/proc/thread-self/net/netstat"))(t))
	lines := strings.Split(text, "\n")
	counts := map[string]int{}
	for i := 0; i+1 < len(lines); i += 2 {
		if !strings.HasPrefix(lines[i], "TcpExt:") {
			continue
		}
		values := strings.Fields(lines[i+1])
		for at, name := range strings.Fields(lines[i]) {
			if at > 0 {
				counts[name] = must(strconv.Atoi(values[at]))(t)
			}
		}
	}
	return counts
}

// sysctl sets a value of this thread's network namespace.
func sysctl(t *testing.T, name, value string) {
	t.Helper()
	check(t, os.WriteFile("/proc/sys/net/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0))
}

// begin starts to connect without waiting for the handshake.
func begin(t testing.TB, to netip.AddrPort) *client {
	t.Helper()
	fd := must(unix.Socket(family(to.Addr()), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))(t)
	if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	c := &client{t: t, fd: fd, local: localAddr(t, fd)}
	t.Cleanup(c.close)
	return c
}

// booksOfKernel waits until what is counted here is what the kernel counted,
// for clients send again what was dropped; it fails if that is never so.
func booksOfKernel(t *testing.T, tr *Tracer, at netip.AddrPort, before map[string]int) (syn, ack uint64) {
	t.Helper()
	var says string
	for range 20 {
		one := tcpExt(t)
		c := sampleOf(t, tr, at)
		if other := tcpExt(t); one["ListenOverflows"] != other["ListenOverflows"] || one["ListenDrops"] != other["ListenDrops"] {
			continue
		}
		overflows := one["ListenOverflows"] - before["ListenOverflows"]
		drops := one["ListenDrops"] - before["ListenDrops"]
		if int(c.OverflowSYN+c.OverflowACK) == overflows && drops == overflows {
			return c.OverflowSYN, c.OverflowACK
		}
		says = fmt.Sprintf("%d SYN and %d last ACK refused; ListenOverflows %d, ListenDrops %d", c.OverflowSYN, c.OverflowACK, overflows, drops)
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the kernel's books differ:", says)
	return 0, 0
}

// A full queue refuses at the SYN, and at the last ACK of a handshake that began
// before it was full. TCP_DEFER_ACCEPT keeps a handshake in between: its last
// ACK is the one with the client's data.
func TestRefusedConnectionsAreThoseOfTheKernelsBooks(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		inQuietNamespace(t, func() {
			tr := open(t, Options{Mode: m})
			for _, abort := range []string{"0", "1"} {
				sysctl(t, "ipv4.tcp_abort_on_overflow", abort)
				for _, to := range []struct{ name, listen, connect string }{
					{"IPv4", "127.0.0.1:0", "127.0.0.1"},
					{"IPv6", "[::1]:0", "::1"},
					{"mapped", "[::]:0", "127.0.0.1"},
				} {
					t.Logf("%s, tcp_abort_on_overflow %s", to.name, abort)
					refuse(t, tr, to.listen, netip.MustParseAddr(to.connect), abort == "1")
				}
			}
		})
	}, Fentry, Kprobe)
}

func refuse(t *testing.T, tr *Tracer, listenOn string, connectTo netip.Addr, abort bool) {
	s := listen(t, listenOn, 1)
	defer s.close()
	check(t, unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30))
	before := tcpExt(t)
	to := netip.AddrPortFrom(connectTo, s.addr.Port())
	late := connect(t, to)
	defer late.close()
	for range 2 {
		c := connect(t, to)
		defer c.close()
		c.send("now")
	}
	late.send("too late")
	dropped := begin(t, to)
	defer dropped.close()

	events := readUntil(t, tr, func(events []event.Event) bool {
		got := only(events, to, event.Overflow)
		return slices.ContainsFunc(got, isLastACK) && slices.ContainsFunc(got, func(e event.Event) bool { return !isLastACK(e) })
	})
	for _, e := range only(events, to, event.Overflow) {
		want, flags := dropped.local, event.Flags(0)
		if isLastACK(e) {
			want, flags = late.local, event.LastACK
			if abort {
				flags |= event.Aborted
			}
		}
		if e.Peer != want || e.Flags != flags || e.Depth != 2 || e.Backlog != 1 {
			t.Errorf("want a refusal of %s with flags %#x:\n%s", want, flags, describe([]event.Event{e}))
		}
	}
	if abort {
		_, err := unix.Read(late.fd, make([]byte, 1))
		if err != unix.ECONNRESET {
			t.Errorf("the client of a refused last ACK reads %v, want a reset", err)
		}
	}
	syn, ack := booksOfKernel(t, tr, s.addr, before)
	if syn == 0 || ack == 0 {
		t.Errorf("refused: %d SYN, %d last ACK", syn, ack)
	}
	fullFrom(t, tr, s)
}

func isLastACK(e event.Event) bool { return e.Flags&event.LastACK != 0 }

// fullFrom checks the high-water mark and the time with a full queue, which
// stands still once somebody accepts.
func fullFrom(t *testing.T, tr *Tracer, s *server) {
	t.Helper()
	one := sampleOf(t, tr, s.addr)
	time.Sleep(20 * time.Millisecond)
	other := sampleOf(t, tr, s.addr)
	if one.MaxDepth != 2 || other.Full-one.Full < 20*time.Millisecond {
		t.Errorf("deepest %d, full %v and 20 ms later %v", one.MaxDepth, one.Full, other.Full)
	}
	check(t, unix.SetNonblock(s.fd, true))
	for range 2 {
		s.accept()
	}
	one = sampleOf(t, tr, s.addr)
	time.Sleep(20 * time.Millisecond)
	other = sampleOf(t, tr, s.addr)
	if one.MaxDepth != 2 || one.Full != other.Full {
		t.Errorf("with room again: deepest %d, full %v and 20 ms later %v", one.MaxDepth, one.Full, other.Full)
	}
}
