package sockdiag

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestListenerHasDepthAndBacklog(t *testing.T) {
	l := listen(t, "127.0.0.1", 7)
	for range 3 {
		l.connect("127.0.0.1")
	}
	s := one(t, ListenersQuery(PortRange{l.addr.Port(), l.addr.Port()}))
	if depth, ok := s.Depth(); !ok || depth != 3 {
		t.Errorf("depth %d, %v; want 3", depth, ok)
	}
	if backlog, ok := s.Backlog(); !ok || backlog != 7 {
		t.Errorf("backlog %d, %v; want 7", backlog, ok)
	}
	if s.Local != l.addr || s.Inode != inodeOf(t, l.fd) || s.UID != uint32(os.Geteuid()) {
		t.Errorf("got %+v; want address %v, inode %d, uid %d", s, l.addr, inodeOf(t, l.fd), os.Geteuid())
	}
	if !s.HasDrops || s.Drops != 0 || s.HasInfo || s.Unaccepted() || s.Cookie == 0 {
		t.Errorf("got %+v", s)
	}
}

func TestDropsAreCountedWhenTheQueueIsFull(t *testing.T) {
	l := listen(t, "127.0.0.1", 0)
	l.connect("127.0.0.1")
	fd := socket(t, l.addr.Addr())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, sockaddr(l.addr)); err != unix.EINPROGRESS {
		t.Fatalf("connect to a full queue: %v, want EINPROGRESS", err)
	}
	s := one(t, ListenersQuery(PortRange{l.addr.Port(), l.addr.Port()}))
	if s.Drops == 0 || s.RQueue != 1 || s.WQueue != 0 {
		t.Errorf("got %+v; want a depth of 1 and a drop", s)
	}
}

func TestQueuedConnectionHasAgeAndUnreadBytes(t *testing.T) {
	const wait, slack = 150 * time.Millisecond, 20 * time.Millisecond
	for _, tt := range []struct {
		name   string
		finish func(fd int) error
		want   State
	}{
		{"open", func(int) error { return nil }, Established},
		{"closed by the client", func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }, CloseWait},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := listen(t, "127.0.0.1", 10)
			before := time.Now()
			client := l.connect("127.0.0.1")
			after := time.Now()
			time.Sleep(wait)
			// Data and FIN late, so that an age that they restart is caught.
			if _, err := unix.Write(client, []byte("GET /")); err != nil {
				t.Fatal(err)
			}
			if err := tt.finish(client); err != nil {
				t.Fatal(err)
			}

			oldest := time.Since(after)
			s := one(t, l.query(ExtInfo, Established, CloseWait))
			youngest := time.Since(before)
			if !s.Unaccepted() || s.State != tt.want || s.Inode != 0 || s.HeldCloseWait() {
				t.Errorf("got %+v; want an unaccepted %v", s, tt.want)
			}
			if n, ok := s.UnreadBytes(); !ok || n != 5 {
				t.Errorf("%d unread bytes, %v; want 5", n, ok)
			}
			if !s.HasInfo || s.LastDataSent < oldest-slack || s.LastDataSent > youngest+slack {
				t.Errorf("age %v; want %v to %v", s.LastDataSent, oldest, youngest)
			}
			if s.Remote != localAddr(t, client) {
				t.Errorf("remote %v, want %v", s.Remote, localAddr(t, client))
			}
		})
	}
}

func TestAcceptedConnectionIsNotUnaccepted(t *testing.T) {
	l := listen(t, "127.0.0.1", 10)
	client := l.connect("127.0.0.1")
	server := l.accept()
	s := one(t, l.query(0, Established, CloseWait))
	if s.Unaccepted() || s.Inode != inodeOf(t, server) {
		t.Errorf("got %+v; want inode %d", s, inodeOf(t, server))
	}

	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	s = one(t, l.query(0, Established, CloseWait))
	if s.Unaccepted() || !s.HeldCloseWait() || s.Inode == 0 {
		t.Errorf("got %+v; want a CLOSE_WAIT held with inode %d", s, inodeOf(t, server))
	}
	if n, _ := s.UnreadBytes(); s.RQueue != 1 || n != 0 {
		t.Errorf("receive queue %d, %d unread bytes; the FIN alone is 1 and 0", s.RQueue, n)
	}
}

// A reset connection is in the depth of the queue, but in no table.
func TestResetWhileQueuedIsInvisible(t *testing.T) {
	l := listen(t, "127.0.0.1", 10)
	client := l.connect("127.0.0.1")
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	// Disconnecting sends the RST and leaves the descriptor for the clean-up.
	if err := disconnect(client); err != nil {
		t.Fatal(err)
	}
	s := one(t, l.query(0))
	if depth, ok := s.Depth(); !ok || depth != 1 {
		t.Errorf("got %+v; want only the listener, with a depth of 1", s)
	}
}

// A handshake that waits for data (TCP_DEFER_ACCEPT) is a request_sock.
func TestUnfinishedHandshakeIsNewSynRecv(t *testing.T) {
	l := listen(t, "127.0.0.1", 10, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30)
	})
	l.connect("127.0.0.1")
	s := one(t, l.query(ExtInfo, NewSynRecv))
	if s.State != NewSynRecv || s.Unaccepted() || s.HasInfo || s.Inode != 0 {
		t.Errorf("got %+v", s)
	}
	if got := snapshot(t, l.query(ExtInfo, SynRecv, Established, CloseWait)); len(got) != 0 {
		t.Errorf("got %+v; want none in SYN_RECV", got)
	}
}

func TestDualStackListenerHasMappedPeers(t *testing.T) {
	l := listen(t, "::", 10)
	client := l.connect("127.0.0.1")
	s := one(t, l.query(0, Listen))
	if s.V6Only != V6OnlyNo || s.Family != unix.AF_INET6 {
		t.Errorf("got %+v; want a dual-stack listener", s)
	}

	q := l.query(0, Established)
	s = one(t, q)
	if s.Family != unix.AF_INET6 || !s.Remote.Addr().Is4In6() || !s.IPv4() {
		t.Errorf("got %+v; want a mapped address of an IPv6 socket", s)
	}
	if s.RemoteUnmapped() != localAddr(t, client) {
		t.Errorf("unmapped remote %v, want %v", s.RemoteUnmapped(), localAddr(t, client))
	}
	q.Families = IPv4
	if got := snapshot(t, q); len(got) != 0 {
		t.Errorf("IPv4 sockets: got %+v, want none", got)
	}

	only := listen(t, "::1", 10, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	})
	if s := one(t, only.query(0, Listen)); s.V6Only != V6OnlyYes {
		t.Errorf("got %+v; want IPv6 only", s)
	}
}

func TestPortFiltersRunInTheKernel(t *testing.T) {
	var ports []PortRange
	want := make(map[netip.AddrPort]bool)
	for i := range 12 {
		l := listen(t, "127.0.0.1", 1)
		if i%3 == 0 {
			continue
		}
		want[l.addr] = true
		ports = append(ports, PortRange{l.addr.Port(), l.addr.Port()})
	}
	got := make(map[netip.AddrPort]bool)
	for _, s := range snapshot(t, ListenersQuery(ports...)) {
		if s.Local.Addr() == netip.MustParseAddr("127.0.0.1") {
			got[s.Local] = true
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// More ranges than the kernel can test select the same.
func TestAnyNumberOfPortRanges(t *testing.T) {
	wanted, other := listen(t, "127.0.0.1", 1), listen(t, "127.0.0.1", 1)
	ports := []PortRange{{wanted.addr.Port(), wanted.addr.Port()}}
	for port := uint16(1); len(ports) < mostKernelRanges; port += 2 {
		ports = append(ports, PortRange{port, port})
	}
	for _, ports := range [][]PortRange{ports, append(ports, PortRange{2 * mostKernelRanges, 2 * mostKernelRanges})} {
		found := 0
		for _, s := range snapshot(t, ListenersQuery(ports...)) {
			if s.Local == wanted.addr {
				found++
			}
			if s.Local == other.addr {
				t.Errorf("%d ranges: a port is in none of them", len(ports))
			}
		}
		if found != 1 {
			t.Errorf("%d ranges: a port that is one of them was found %d times", len(ports), found)
		}
	}
}

// An accepted MPTCP connection's subflow has inode 0 and is ESTABLISHED.
func TestMPTCPSubflowIsNotUnaccepted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("many kernels tell CAP_NET_ADMIN only which sockets are subflows")
	}
	enabled, err := os.ReadFile("/proc/sys/net/mptcp/enabled")
	if err != nil || strings.TrimSpace(string(enabled)) != "1" {
		t.Skip("this kernel does not do MPTCP")
	}
	mptcp := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
		if err != nil {
			t.Fatal("MPTCP socket:", err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	l := &listener{t: t, fd: mptcp()}
	if err := errors.Join(unix.Bind(l.fd, sockaddr(loopback)), unix.Listen(l.fd, 5)); err != nil {
		t.Fatal(err)
	}
	l.addr = localAddr(t, l.fd)
	client := mptcp()
	if err := unix.Connect(client, sockaddr(l.addr)); err != nil {
		t.Fatal(err)
	}
	plain := l.connect("127.0.0.1")
	for _, s := range snapshot(t, l.query(ExtInfo, Established)) {
		isPlain := s.Remote == localAddr(t, plain)
		if s.MPTCP == isPlain || s.Unaccepted() != isPlain {
			t.Errorf("got %+v; plain TCP is %v", s, isPlain)
		}
	}
	l.accept()
	l.accept()
	for _, s := range snapshot(t, l.query(ExtInfo, Established)) {
		if s.Unaccepted() {
			t.Errorf("accepted, but taken for unaccepted: %+v", s)
		}
	}
}

func TestListenerInAnotherNamespace(t *testing.T) {
	var fd int
	ns := inNewNS(t, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: 8000}), unix.Listen(fd, 42))
	}, func() { unix.Close(fd) })

	q := ListenersQuery(PortRange{8000, 8000})
	q.NetNS = &ns
	s := one(t, q)
	if s.WQueue != 42 || s.Inode != inodeOf(t, fd) {
		t.Errorf("got %+v", s)
	}
	q.NetNS = nil
	for _, s := range snapshot(t, q) {
		if s.Inode == inodeOf(t, fd) {
			t.Errorf("the other namespace's listener is visible here: %+v", s)
		}
	}
}

func TestCallersErrorAndContextEndTheDump(t *testing.T) {
	l := listen(t, "127.0.0.1", 9)
	stop := errors.New("enough")
	if err := Dump(context.Background(), l.query(0), func(*Socket) error { return stop }); err != stop {
		t.Errorf("got %v, want the caller's error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Dump(ctx, l.query(0), func(*Socket) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
