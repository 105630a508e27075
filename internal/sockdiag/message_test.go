package sockdiag

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// literal turns commented hex into bytes. The literals are what a little-endian
// kernel sends.
func literal(t testing.TB, text string) []byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the literal bytes are little-endian")
	}
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	listenV6 = `
		0a 0a 00 00                # AF_INET6, LISTEN, no timer
		1f40 0000                  # port 8000, no peer
		00000000 00000000 00000000 00000000
		00000000 00000000 00000000 00000000
		00000000                   # no device
		07000000 01000000          # cookie 0x1_00000007
		00000000                   # expires
		2a000000 80000000          # depth 42, backlog 128
		e8030000 39300000          # uid 1000, inode 12345
		0500 0800 00 000000        # INET_DIAG_SHUTDOWN
		0500 0b00 01 000000        # INET_DIAG_SKV6ONLY
		0c00 1500 0b02000000000000 # INET_DIAG_CGROUP_ID 0x20b
		2800 0700 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0c000000
	`
	queuedV4 = `
		02 08 00 00                # AF_INET, CLOSE_WAIT
		1f40 d431                  # port 8000, peer's 54321
		7f000001 00000000 00000000 00000000
		0a000002 00000000 00000000 00000000
		03000000                   # device 3
		ffffffff ffffffff          # INET_DIAG_NOCOOKIE
		00000000
		06000000 00000000          # 5 bytes and the FIN
		00000000 00000000
		0500 0800 00 000000
		4000 0200                  # INET_DIAG_INFO as a very old kernel has it
			08000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 e8030000 00000000
			00000000 dc050000
	`
	request = `
		02 03 01 00 1f40 d431
		7f000001 00000000 00000000 00000000
		7f000001 00000000 00000000 00000000
		00000000 09000000 00000000 00000000
		00000000 00000000 00000000 00000000
	`
	fastOpen = request + `0500 0800 00 000000`
	subflow  = `
		02 01 00 00 1f40 d431
		7f000001 00000000 00000000 00000000
		7f000001 00000000 00000000 00000000
		00000000 09000000 00000000 00000000
		00000000 00000000 00000000 00000000
		0500 0800 00 000000
		1800 1380                  # INET_DIAG_ULP_INFO, with NLA_F_NESTED
			0a00 0100 6d7074637000 0000   # "mptcp"
			0800 0300 00000000
	`
	mappedV6 = `
		0a 01 00 00 1f40 d431
		00000000 00000000 0000ffff 7f000001
		00000000 00000000 0000ffff 7f000002
		00000000 09000000 00000000 00000000
		00000000 00000000 00000000 39300000
	`
)

func TestParseSocket(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:8000")
	peer := netip.MustParseAddrPort("127.0.0.1:54321")
	for _, tt := range []struct {
		name, text string
		want       Socket
		unaccepted bool
	}{
		{"listener", listenV6, Socket{
			Family: unix.AF_INET6, State: Listen,
			Local: netip.MustParseAddrPort("[::]:8000"), Remote: netip.MustParseAddrPort("[::]:0"),
			Cookie: 0x1_0000_0007, Inode: 12345, UID: 1000, RQueue: 42, WQueue: 128,
			Drops: 12, HasDrops: true, CgroupID: 0x20b, V6Only: V6OnlyYes,
		}, false},
		{"queued, closed by the client", queuedV4, Socket{
			Family: unix.AF_INET, State: CloseWait, Ifindex: 3,
			Local: local, Remote: netip.MustParseAddrPort("10.0.0.2:54321"),
			RQueue: 6, LastDataSent: time.Second, LastHeard: 1500 * time.Millisecond, HasInfo: true,
		}, true},
		{"unfinished handshake", request, Socket{
			Family: unix.AF_INET, State: NewSynRecv, Local: local, Remote: peer, Cookie: 9,
		}, false},
		{"Fast Open", fastOpen, Socket{
			Family: unix.AF_INET, State: SynRecv, Local: local, Remote: peer, Cookie: 9,
		}, false},
		{"MPTCP subflow", subflow, Socket{
			Family: unix.AF_INET, State: Established, Local: local, Remote: peer, Cookie: 9, MPTCP: true,
		}, false},
		{"IPv4 on an IPv6 socket", mappedV6, Socket{
			Family: unix.AF_INET6, State: Established, Cookie: 9, Inode: 12345,
			Local:  netip.MustParseAddrPort("[::ffff:127.0.0.1]:8000"),
			Remote: netip.MustParseAddrPort("[::ffff:127.0.0.2]:54321"),
		}, false},
		{"attribute that is too short", request + "0800 0700 01000000 0400 0b00 0500 0800 00", Socket{
			Family: unix.AF_INET, State: SynRecv, Local: local, Remote: peer, Cookie: 9,
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Socket{Inode: 1, HasInfo: true, MPTCP: true} // to be overwritten
			if err := parseSocket(literal(t, tt.text), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			if got.Unaccepted() != tt.unaccepted {
				t.Errorf("Unaccepted() = %v", got.Unaccepted())
			}
		})
	}
}

func TestParseSocketRefuses(t *testing.T) {
	whole := literal(t, request)
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "0 bytes"},
		{"cut", whole[:inetDiagMsgLen-1], "too short"},
		{"unknown family", append([]byte{1}, whole[1:]...), "unknown address family 1"},
		{"attribute past the end", append(whole[:72:72], 8, 0, 2, 0), "claims 8 of 4 bytes"},
		{"attribute shorter than its header", append(whole[:72:72], 3, 0, 2, 0), "claims 3 of 4 bytes"},
	} {
		var s Socket
		if err := parseSocket(tt.b, &s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestUnreadBytesLeavesTheFINOut(t *testing.T) {
	for _, tt := range []struct {
		s    Socket
		want uint32
		ok   bool
	}{
		{Socket{State: Established, RQueue: 5}, 5, true},
		{Socket{State: CloseWait, RQueue: 6}, 5, true},
		{Socket{State: CloseWait}, 0, true},
		{Socket{State: Listen, RQueue: 6}, 0, false},
	} {
		if got, ok := tt.s.UnreadBytes(); got != tt.want || ok != tt.ok {
			t.Errorf("%v with %d: got %d, %v", tt.s.State, tt.s.RQueue, got, ok)
		}
	}
}

func message(kind, flags uint16, sequence uint32, body []byte) []byte {
	ne := binary.NativeEndian
	b := ne.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = ne.AppendUint16(b, kind)
	b = ne.AppendUint16(b, flags)
	b = ne.AppendUint32(b, sequence)
	b = ne.AppendUint32(b, 0)
	return append(b, body...)
}

func TestDatagram(t *testing.T) {
	row := literal(t, queuedV4)
	errno := func(e unix.Errno) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e))) }
	join := func(messages ...[]byte) (all []byte) {
		for _, m := range messages {
			all = append(all, m...)
		}
		return all
	}
	for _, tt := range []struct {
		name        string
		b           []byte
		rows        int
		done        bool
		interrupted bool
		want        string
	}{
		{"rows and the end", join(message(20, 2, 1, row), message(20, 2, 1, row), message(unix.NLMSG_DONE, 2, 1, errno(0))), 2, true, false, ""},
		{"more to come", message(20, 2, 1, row), 1, false, false, ""},
		{"an end without an error number", message(unix.NLMSG_DONE, 2, 1, nil), 0, true, false, ""},
		{"an answer to an earlier request", message(20, 2, 7, row), 0, false, false, ""},
		{"interrupted", join(message(20, 2|unix.NLM_F_DUMP_INTR, 1, row), message(unix.NLMSG_DONE, 2, 1, nil)), 1, true, true, ""},
		{"no tcp_diag", message(unix.NLMSG_ERROR, 0, 1, errno(unix.ENOENT)), 0, true, false, "modprobe tcp_diag"},
		{"an error at the end", message(unix.NLMSG_DONE, 2, 1, errno(unix.EINVAL)), 0, true, false, "invalid argument"},
		{"cut header", make([]byte, 15), 0, false, false, "too short"},
		{"message past the end", message(20, 2, 1, row)[:20], 0, false, false, "of 20 bytes"},
		{"overrun", message(unix.NLMSG_OVERRUN, 0, 1, nil), 0, true, false, "lost part"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows := 0
			d := dump{states: AllStates, fn: func(*Socket) error { rows++; return nil }}
			done, err := d.datagram(tt.b, 1)
			if rows != tt.rows || done != tt.done || d.interrupted != tt.interrupted {
				t.Errorf("%d rows, done %v, interrupted %v", rows, done, d.interrupted)
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			var unavailable *UnavailableError
			if errors.As(err, &unavailable) != strings.Contains(tt.want, "modprobe") {
				t.Errorf("got a %T", err)
			}
		})
	}
}

func TestInterruptedDumpIsRetried(t *testing.T) {
	for _, tt := range []struct {
		interruptions, calls int
		want                 error
	}{{0, 1, nil}, {1, 2, nil}, {attempts - 1, attempts, nil}, {attempts, attempts, ErrInterrupted}} {
		calls := 0
		all, err := retry(func(fn func(*Socket) error) error {
			fn(&Socket{Inode: uint32(calls)})
			if calls++; calls <= tt.interruptions {
				return ErrInterrupted
			}
			return nil
		})
		if calls != tt.calls || !errors.Is(err, tt.want) || len(all) != 1 || all[0].Inode != uint32(calls-1) {
			t.Errorf("%d interruptions: %d calls, %+v, %v", tt.interruptions, calls, all, err)
		}
	}
}

// FuzzDatagram covers headers, rows and attributes, and calls every getter.
func FuzzDatagram(f *testing.F) {
	for _, text := range []string{listenV6, queuedV4, request, fastOpen, subflow, mappedV6} {
		f.Add(message(20, 2, 1, literal(f, text)))
	}
	f.Add(message(unix.NLMSG_DONE, 2, 1, []byte{0xfe, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := dump{states: ^StateMask(0), fn: func(s *Socket) error {
			if s.Unaccepted() && (s.Inode != 0 || s.HeldCloseWait()) {
				t.Errorf("both waiting and held: %+v", s)
			}
			if n, _ := s.UnreadBytes(); n > s.RQueue {
				t.Errorf("%d unread of %d bytes", n, s.RQueue)
			}
			_, isListener := s.Depth()
			if _, ok := s.Backlog(); ok != isListener || ok != (s.State == Listen) {
				t.Errorf("listener or not: %+v", s)
			}
			if s.LocalUnmapped().Addr().Is4() != s.IPv4() {
				t.Errorf("IPv4 or not: %+v", s)
			}
			if !s.RemoteUnmapped().Addr().IsValid() || s.State.String() == "" {
				t.Errorf("got %+v", s)
			}
			return nil
		}}
		d.datagram(b, 1)
	})
}
