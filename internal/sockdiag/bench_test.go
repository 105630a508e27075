package sockdiag

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/netns"
)

// BenchmarkDump lists many sockets in a network namespace of its own: the
// incident, connections whose clients have gone, which need no descriptors. The
// count is 20,000 CLOSE_WAIT, ACCEPTWATCH_BENCH_SOCKETS gives another; nearly as
// many of the clients' FIN_WAIT2 exist for a minute.
func BenchmarkDump(b *testing.B) {
	sockets := 20_000
	if s := os.Getenv("ACCEPTWATCH_BENCH_SOCKETS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		sockets = n
	}
	ns := crowd(b, sockets)

	for _, tt := range []struct {
		name string
		q    Query
		want int // at least
	}{
		{"all", Query{}, sockets},
		{"waiting with info", Query{Ext: ExtInfo, States: States(Established, CloseWait)}, sockets},
		{"one port with info", Query{Ext: ExtInfo, Ports: []PortRange{{8000, 8000}}}, 1},
		{"listeners", ListenersQuery(), 1},
	} {
		b.Run(fmt.Sprintf("%s of %d", tt.name, sockets), func(b *testing.B) {
			tt.q.NetNS = &ns
			b.ReportAllocs()
			rows := 0
			for b.Loop() {
				rows = 0
				if err := Dump(context.Background(), tt.q, func(*Socket) error { rows++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			if rows < tt.want {
				b.Fatalf("%d rows, want %d", rows, tt.want)
			}
			b.ReportMetric(float64(rows), "rows")
		})
	}
}

// crowd makes connections in a new network namespace and leaves them queued.
func crowd(b *testing.B, connections int) netns.NS {
	var fds []int
	return inNewNS(b, func() error { return crowdHere(&fds, connections) }, func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
}

func crowdHere(fds *[]int, connections int) error {
	up := func(fd int) error {
		ifr, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
	}
	const perListener = 2000
	var addr netip.AddrPort
	for i := range connections {
		if i%perListener == 0 {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			*fds = append(*fds, fd)
			if i == 0 {
				if err := up(fd); err != nil {
					return err
				}
			}
			addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(8000+i/perListener))
			if err := unix.Bind(fd, sockaddr(addr)); err != nil {
				return err
			}
			if err := unix.Listen(fd, perListener); err != nil {
				return err
			}
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, sockaddr(addr))
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}
