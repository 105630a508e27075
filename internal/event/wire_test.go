package event

import (
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

// Each is one struct event, byte by byte; a space ends a field.
const (
	acceptedIPv4 = "" +
		"00ca9a3b00000000 40420f0000000000 2a00000000000000 0700000000000000 " +
		"7f000001000000000000000000000000 0a000002000000000000000000000000 " +
		"401f c8d5 010000f0 03000000 04000000 05000000 80000000 06000000 " +
		"d2040000 d3040000 00000000 0000 01 02 08 01 0000 " +
		"67756e69636f726e0000000000000000"
	resetMapped = "" +
		"0100000000000000 0000000000000000 0000000000000000 0000000000000000 " +
		"00000000000000000000ffff7f000001 00000000000000000000ffff0a000002 " +
		"401f c8d5 010000f0 00000000 00000000 00000000 00000000 00000000 " +
		"00000000 00000000 00000000 2000 03 0a 07 04 0000 " +
		"00000000000000000000000000000000"
	listenerIPv6 = "" +
		"0100000000000000 0000000000000000 ffffffffffffffff 0000000000000000 " +
		"20010db8000000000000000000000001 00000000000000000000000000000000 " +
		"401f 0000 010000f0 00000000 05000000 00000000 80000000 00000000 " +
		"00000000 00000000 15cd5b07 0000 05 0a 0a 0a 0000 " +
		"00000000000000000000000000000000"
)

func wire(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != Size {
		t.Fatalf("test data has %d bytes", len(raw))
	}
	return raw
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		want      Event
	}{
		{"accepted IPv4", acceptedIPv4, Event{
			Time: 1_000_000_000, Queued: 1_000_000_000, ListenerID: 42, Cookie: 7,
			Local: netip.MustParseAddrPort("127.0.0.1:8000"), Peer: netip.MustParseAddrPort("10.0.0.2:54728"),
			NetNS: 0xf0000001, Ifindex: 3, Depth: 4, DepthAtEntry: 5, Backlog: 128, Unread: 6,
			PID: 1234, TID: 1235, Flags: ExitUnseen, Kind: Accepted, Family: 2,
			State: CloseWaited, Comm: Comm{'g', 'u', 'n', 'i', 'c', 'o', 'r', 'n'},
		}},
		{"IPv4 to an IPv6 socket is IPv4", resetMapped, Event{
			Time: 1, Local: netip.MustParseAddrPort("127.0.0.1:8000"), Peer: netip.MustParseAddrPort("10.0.0.2:54728"),
			NetNS: 0xf0000001, Flags: AfterFIN, Errno: 32, Kind: Reset, Family: 10, State: Close,
		}},
		{"listener IPv6", listenerIPv6, Event{
			Time: 1, ListenerID: math.MaxUint64, Local: netip.MustParseAddrPort("[2001:db8::1]:8000"),
			Peer: netip.MustParseAddrPort("[::]:0"), NetNS: 0xf0000001, Depth: 5, Backlog: 128,
			Inode: 123456789, Flags: WalkCut | V6Only, Kind: Listener, Family: 10, State: Listening,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := wire(t, tc.raw)
			got := Event{PID: 99, Ended: EndedByClose} // nothing of an earlier event stays
			if err := Decode(raw, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, compare); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(raw, Append(nil, &got)); diff != "" {
				t.Errorf("Append is not the inverse: %s", diff)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	with := func(at int, v byte) []byte {
		raw := wire(t, acceptedIPv4)
		raw[at] = v
		return raw
	}
	for _, tc := range []struct {
		name string
		raw  []byte
		is   error
		says string
	}{
		{"empty", nil, ErrShort, "0 bytes of 128"},
		{"one byte short", wire(t, acceptedIPv4)[:Size-1], ErrShort, "127 bytes of 128"},
		{"kind 0", with(106, 0), ErrKind, "kind 0"},
		{"kind 10", with(106, 10), ErrKind, "kind 10"},
		{"derived kind", with(106, byte(Stall)), ErrKind, "kind 128"},
		{"family", with(107, 1), ErrFamily, "family 1"},
		{"no family", with(107, 0), ErrFamily, "family 0"},
		{"time", with(7, 0x80), ErrTime, "at 9223372037854775808"},
		{"queued", with(15, 0x7f), ErrTime, "queued at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e Event
			err := Decode(tc.raw, &e)
			if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The descriptor and the repeats of a failed accept() take the place of what it
// has not; the listener may be unknown.
func TestAcceptErrorSurvivesTheWire(t *testing.T) {
	in := Event{Kind: AcceptError, Time: 1, PID: 7, TID: 8, Errno: 24, FD: -1, Repeats: 9}
	var out Event
	if err := Decode(Append(nil, &in), &out); err != nil {
		t.Fatal(err)
	}
	if out.Local.IsValid() || out.Peer.IsValid() {
		t.Errorf("it has addresses: %v, %v", out.Local, out.Peer)
	}
	in.Local, in.Peer = out.Local, out.Peer
	if in != out {
		t.Errorf("%+v became %+v", in, out)
	}
}

func TestUserSpaceFlagsSurviveARecording(t *testing.T) {
	var in, out Event
	if err := Decode(wire(t, acceptedIPv4), &in); err != nil {
		t.Fatal(err)
	}
	in.Flags |= Sampled | Recovered
	if err := Decode(Append(nil, &in), &out); err != nil {
		t.Fatal(err)
	}
	if out.Flags != ExitUnseen|Sampled|Recovered {
		t.Errorf("flags %b", out.Flags)
	}
}

func TestDecodeAndAppendDoNotAllocate(t *testing.T) {
	raw, buf := wire(t, resetMapped), make([]byte, 0, Size)
	var e Event
	if n := testing.AllocsPerRun(100, func() {
		if Decode(raw, &e) != nil || len(Append(buf, &e)) != Size {
			t.Error("decode")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The layout is written down twice, so this reads the other one.
func TestLayoutIsThatOfTheHeader(t *testing.T) {
	src, err := os.ReadFile("../../bpf/events.h")
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(src), "struct event {")
	if !ok {
		t.Fatal("no struct event in events.h")
	}
	body, _, _ = strings.Cut(body, "\n};")
	// A value that is different in each byte, to see where each field comes from.
	raw := make([]byte, Size)
	for i := range raw {
		raw[i] = byte(i)
	}
	raw[7], raw[15] = 0, 0 // in range of a time
	raw[106], raw[107] = byte(Accepted), afINET6
	var e Event
	if err := Decode(raw, &e); err != nil {
		t.Fatal(err)
	}
	local, peer := e.Local.Addr().As16(), e.Peer.Addr().As16()
	first := map[string]uint64{ // the lowest byte of each field, as decoded
		"time": uint64(e.Time), "queued": uint64(e.Queued / 1000), "listener": e.ListenerID, "cookie": e.Cookie,
		"local_addr": uint64(local[0]), "peer_addr": uint64(peer[0]),
		"local_port": uint64(e.Local.Port()), "peer_port": uint64(e.Peer.Port()),
		"netns": uint64(e.NetNS), "ifindex": uint64(e.Ifindex), "depth": uint64(e.Depth),
		"depth_at_entry": uint64(e.DepthAtEntry), "backlog": uint64(e.Backlog), "unread": uint64(e.Unread),
		"pid": uint64(e.PID), "tid": uint64(e.TID), "inode": uint64(e.Inode), "error": uint64(e.Errno),
		"kind": uint64(e.Kind), "family": uint64(e.Family), "state": uint64(e.State), "flags": uint64(e.Flags),
		"comm": uint64(e.Comm[0]), "reserved": uint64(raw[110]),
	}
	width := map[string]int{"__u64": 8, "__u32": 4, "__u16": 2, "__u8": 1, "char": 1}
	offset := 0
	for _, m := range regexp.MustCompile(`(?m)^\s*(__u\d+|char) (\w+)(?:\[(\d+)\])?;`).FindAllStringSubmatch(body, -1) {
		size := width[m[1]]
		if offset%size != 0 {
			t.Errorf("%s: padding before it, at offset %d", m[2], offset)
		}
		got, ok := first[m[2]]
		if !ok {
			t.Errorf("%s is not decoded", m[2])
		} else if byte(got) != raw[offset] {
			t.Errorf("%s is decoded from offset %d, is at %d", m[2], byte(got), offset)
		}
		delete(first, m[2])
		if m[3] != "" {
			n, err := strconv.Atoi(m[3])
			if err != nil {
				t.Fatal(err)
			}
			size *= n
		}
		offset += size
	}
	if offset != Size {
		t.Errorf("struct event has %d bytes, Size is %d", offset, Size)
	}
	if len(first) != 0 {
		t.Errorf("not in the header: %v", first)
	}
}

// The kernel's enums are the numbers of Kind and Flags.
func TestEnumsAreThoseOfTheHeader(t *testing.T) {
	src, err := os.ReadFile("../../bpf/events.h")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{
		"EVENT_ACCEPTED": uint64(Accepted), "EVENT_CLOSE_WAIT": uint64(CloseWait), "EVENT_RESET": uint64(Reset),
		"EVENT_PURGED": uint64(Purged), "EVENT_LISTENER": uint64(Listener), "EVENT_QUEUED": uint64(Queued),
		"EVENT_LISTENER_CLOSED": uint64(ListenerClosed), "EVENT_OVERFLOW": uint64(Overflow), "EVENT_ACCEPT_ERROR": uint64(AcceptError),
		"EVENT_FLAG_LAST_ACK": uint64(LastACK), "EVENT_FLAG_ABORTED": uint64(Aborted),
		"EVENT_FLAG_EXIT_UNSEEN": uint64(ExitUnseen), "EVENT_FLAG_WALK_CUT": uint64(WalkCut),
		"EVENT_FLAG_AFTER_FIN": uint64(AfterFIN), "EVENT_FLAG_V6ONLY": uint64(V6Only),
	} {
		m := regexp.MustCompile(name + `\s*=\s*(?:(\d+) << (\d+)|(\d+))`).FindSubmatch(src)
		if m == nil {
			t.Errorf("%s is not in events.h", name)
			continue
		}
		n := func(i int) uint64 { v, _ := strconv.ParseUint(string(m[i]), 10, 16); return v }
		if got := n(3) + n(1)<<n(2); got != want {
			t.Errorf("%s is %d in events.h, %d here", name, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, k := range Kinds() {
		got, err := ParseKind(k.String())
		if err != nil || got != k {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	if _, err := ParseKind("acepted"); err == nil || !strings.Contains(err.Error(), "stall_end") {
		t.Errorf("ParseKind: %v does not say what there is", err)
	}
	want := map[State]string{1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2",
		6: "TIME_WAIT", 7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
		12: "NEW_SYN_RECV", 13: "state(13)"}
	for s, name := range want {
		if s.String() != name {
			t.Errorf("state %d: %s", s, s)
		}
		if s.Dead() != (s == Close || s == CloseWaited) {
			t.Errorf("%s.Dead()", s)
		}
	}
	for n, name := range map[Ending]string{0: "none", 1: "accept", 2: "close", 3: "empty", 4: "ending(4)"} {
		if n.String() != name {
			t.Errorf("ending %d: %s", n, n)
		}
	}
	if s := Kind(77).String(); s != "kind(77)" {
		t.Error(s)
	}
}

func TestWait(t *testing.T) {
	for _, tc := range []struct {
		e     Event
		want  time.Duration
		known bool
	}{
		{Event{Time: 5, Queued: 0}, 0, false},
		{Event{Time: 5000, Queued: 2000}, 3 * time.Microsecond, true},
		{Event{Time: 5000, Queued: 6000}, 0, true}, // clocks read on two CPUs
	} {
		if got, known := tc.e.Wait(); got != tc.want || known != tc.known {
			t.Errorf("%+v: %v, %v", tc.e, got, known)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(wire(f, acceptedIPv4))
	f.Add(wire(f, resetMapped))
	f.Add(wire(f, listenerIPv6))
	f.Add(Append(nil, &Event{Kind: AcceptError, Time: 1, PID: 7, TID: 8, Errno: 24, FD: 3, Repeats: 9}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e, again Event
		if Decode(raw, &e) != nil {
			return
		}
		if w, _ := e.Wait(); w < 0 {
			t.Errorf("waited %v", w)
		}
		if known := e.Kind != AcceptError || e.Family != 0; e.Local.IsValid() != known || e.Peer.IsValid() != known {
			t.Error("address of a family that is not known")
		}
		for _, s := range []string{e.Kind.String(), e.State.String(), e.Ended.String(), e.Local.String(), e.Peer.String()} {
			if s == "" {
				t.Error("empty name")
			}
		}
		if strings.ContainsRune(e.Comm.String(), 0) {
			t.Error("NUL in comm")
		}
		_ = e.State.Dead()
		if err := Decode(Append(nil, &e), &again); err != nil {
			t.Fatal(err)
		}
		if e != again {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	raw := wire(b, resetMapped)
	var e Event
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(raw, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecodeForgetsTheTailOfAnOlderName(t *testing.T) {
	b := Append(nil, &Event{Kind: Accepted, Family: 2, Comm: Comm{'s', 'h', 0, 't', 'e', 'm', 'd'}})
	var e Event
	if err := Decode(b, &e); err != nil || e.Comm != (Comm{'s', 'h'}) {
		t.Errorf("%v, %q", err, e.Comm[:])
	}
}
