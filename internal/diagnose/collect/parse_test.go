package collect

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/diagnose"
)

func TestParseCall(t *testing.T) {
	const rest = " 0x7ffd0 0x7f00\n"
	for _, test := range []struct {
		name, text string
		want       call
		fd         int // -1: none
		op         string
	}{
		{"running", "running\n", call{running: true}, -1, ""},
		{"in a page fault", "-1 0x7ffd0 0x7f00\n", call{none: true}, -1, ""},
		{"accept4", "288 0x3 0x0 0x0 0x0 0x0 0x0" + rest, call{name: "accept4", args: [6]uint64{3}}, 3, ""},
		{"recvfrom", "45 0x7 0x1 0x2 0x0 0x0 0x0" + rest, call{name: "recvfrom", args: [6]uint64{7, 1, 2}}, 7, ""},
		{"a lock of glibc", "202 0x10 0x80 0x2 0x0 0x0 0x0" + rest, call{name: "futex", args: [6]uint64{16, 0x80, 2}}, -1, "mutex"},
		{"a lock of Rust", "202 0x10 0x89 0x2 0x0 0x0 0xffffffff" + rest, call{name: "futex", args: [6]uint64{16, 0x89, 2, 0, 0, 0xffffffff}}, -1, "mutex"},
		{"a condition", "202 0x10 0x189 0x0 0x0 0x0 0xffffffff" + rest, call{name: "futex", args: [6]uint64{16, 0x189, 0, 0, 0, 0xffffffff}}, -1, "condition"},
		{"a parked thread of Go", "202 0x10 0x80 0x0 0x0 0x0 0x0" + rest, call{name: "futex", args: [6]uint64{16, 0x80}}, -1, "condition"},
		{"until a thread ends", "202 0x10 0x109 0x1234 0x0 0x0 0xffffffff" + rest, call{name: "futex", args: [6]uint64{16, 0x109, 0x1234, 0, 0, 0xffffffff}}, -1, "join"},
		{"another one", "9999 0x0 0x0 0x0 0x0 0x0 0x0" + rest, call{name: "syscall 9999"}, -1, ""},
	} {
		if test.name != "running" && test.name != "in a page fault" && callNames()[45] != "recvfrom" {
			continue // the numbers are those of amd64
		}
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseCall(test.text)
			if !ok || got != test.want {
				t.Fatalf("parseCall(%q) = %+v, %v; want %+v", test.text, got, ok, test.want)
			}
			if fd, ok := got.fd(); ok != (test.fd >= 0) || ok && fd != test.fd {
				t.Errorf("fd() = %d, %v; want %d", fd, ok, test.fd)
			}
			if test.op != "" && got.futexOp() != test.op {
				t.Errorf("futexOp() = %s, want %s", got.futexOp(), test.op)
			}
		})
	}
	for _, bad := range []string{"", "\n", "x 0x1"} {
		if _, ok := parseCall(bad); ok {
			t.Errorf("parseCall(%q) takes it", bad)
		}
	}
}

func TestParseThreadStat(t *testing.T) {
	text := "77 (a (b) c) D 12 77 77 0 -1 4194560 300 0 9 0 1 2 0 0 20 0 5 0 4242 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 25 0 0\n"
	want := threadStat{comm: "a (b) c", state: "D", parent: 12, majorFaults: 9, startTime: 4242, blockIO: 250 * time.Millisecond}
	if got, ok := parseStat(text); !ok || got != want {
		t.Errorf("got %+v, %v; want %+v", got, ok, want)
	}
	if _, ok := parseStat("77 (short) S 1"); ok {
		t.Error("a line that was cut is taken")
	}
}

func TestFindWatched(t *testing.T) {
	text := "pos:\t0\nflags:\t02\nmnt_id:\t15\n" +
		"tfd:        5 events: 80002019 data: ffff88  pos:0 ino:2f1c sdev:8\n" +
		"tfd:       12 events:       19 data:        c  pos:0 ino:e sdev:9\n"
	for inode, want := range map[uint32]uint32{0x2f1c: 0x80002019, 0xe: 0x19, 0x2f1: 0, 0x1c: 0} {
		if got, found := findWatched(strings.NewReader(text), inode); got != want || found != (want != 0) {
			t.Errorf("%x: got %x, %v, want %x", inode, got, found, want)
		}
	}
}

func TestEpollSetIsReadOnce(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(proc+"/7/fdinfo", 0o755); err != nil {
		t.Fatal(err)
	}
	file := proc + "/7/fdinfo/4"
	if err := os.WriteFile(file, []byte("tfd: 5 events: 80000019 data: 5  pos:0 ino:63 sdev:8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := newCollector(t.Context(), Listener{Inode: 0x63}, Options{}, procFS(proc), cgroupFS(proc))
	for range 2 {
		if w, ok := c.resolver.watches(7, 4); !ok || w != (diagnose.Watch{FD: 4, Edge: true}) {
			t.Errorf("got %+v, %v", w, ok)
		}
		_ = os.Remove(file)
	}
}

func TestParseSmallFiles(t *testing.T) {
	if got, ok := pressure("some avg10=0.00 total=5\nfull avg10=1.00 avg60=0.10 total=1234\n", "full"); !ok || got != 1234*time.Microsecond {
		t.Errorf("pressure: %v, %v", got, ok)
	}
	if got, ok := keyed("nr_periods 7\nnr_throttled 3\n", "nr_throttled"); !ok || got != 3 {
		t.Errorf("cpu.stat: %v, %v", got, ok)
	}
	if _, ok := keyed("nr_throttled_more 3\n", "nr_throttled"); ok {
		t.Error("cpu.stat: the beginning of another word is taken")
	}
	limits := "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n"
	if got, ok := descriptorLimit(limits); !ok || got != 1024 {
		t.Errorf("limits: %v, %v", got, ok)
	}
	if _, ok := descriptorLimit("Max open files            unlimited            unlimited            files\n"); ok {
		t.Error("limits: unlimited is a number")
	}
	stack := "[<0>] futex_do_wait+0x1/0x2\n[<0>] do_syscall_64+0x5/0x6\n"
	if got := parseKernelStack(stack); !slices.Equal(got, []string{"futex_do_wait", "do_syscall_64"}) {
		t.Errorf("stack: %v", got)
	}
}

func TestParseUDP(t *testing.T) {
	text := "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		"  101: 0100007F:A1B2 0909097F:0035 01 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000 0\n" +
		"  102: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000 0\n"
	known := make(map[uint32]diagnose.Target)
	parseUDP(text, known)
	want := map[uint32]diagnose.Target{
		4711: {Kind: diagnose.KindUDP, Local: "127.0.0.1:41394", Peer: "127.9.9.9:53"},
		4712: {Kind: diagnose.KindUDP, Local: "0.0.0.0:68"},
	}
	if !reflect.DeepEqual(known, want) {
		t.Errorf("got %+v, want %+v", known, want)
	}
}

func TestQueueOf(t *testing.T) {
	look := func(depth uint32, waiting map[string]time.Duration, taken ...string) *queueLook {
		q := &queueLook{found: true, depth: depth, backlog: 8, drops: depth, dropsKnown: true, overflows: diagnose.Known[uint64](7), waiting: waiting, mine: true, taken: map[string]bool{}}
		for _, name := range taken {
			q.taken[name] = true
		}
		return q
	}
	type ages = map[string]time.Duration
	yes, no := diagnose.Known(true), diagnose.Known(false)
	for _, test := range []struct {
		name        string
		first, last *queueLook
		accepting   diagnose.Maybe[bool]
		oldest      time.Duration
	}{
		{"the head stays", look(2, ages{"a": 3 * time.Second, "b": time.Second}), look(2, ages{"a": 5 * time.Second, "b": 3 * time.Second}), no, 5 * time.Second},
		{"the head was accepted and is open", look(1, ages{"a": time.Second}), look(1, ages{"b": time.Second}, "a"), yes, time.Second},
		{"the head left", look(2, ages{"a": time.Second, "b": 0}), look(1, ages{"b": time.Second}), yes, time.Second},
		{"the head was reset, or accepted and closed", look(1, ages{"a": time.Second}), look(1, ages{"b": 0}), diagnose.Maybe[bool]{}, 0},
		{"two are the oldest, and one is gone", look(2, ages{"a": time.Second, "b": time.Second}), look(2, ages{"b": 3 * time.Second, "c": 0}), diagnose.Maybe[bool]{}, 3 * time.Second},
		{"all were reset", look(2, ages{}), look(2, ages{}), diagnose.Maybe[bool]{}, 0},
		{"empty", look(0, ages{}), look(0, ages{}), diagnose.Maybe[bool]{}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := queueOf(test.first, test.last)
			if q.Accepting != test.accepting || q.Oldest.Or(0) != test.oldest {
				t.Errorf("accepting %+v, oldest %+v; want %+v, %v", q.Accepting, q.Oldest, test.accepting, test.oldest)
			}
		})
	}
	shared := look(1, ages{"a": 9 * time.Second})
	shared.mine = false
	if q := queueOf(shared, shared); !q.Oldest.IsZero() || !q.Accepting.IsZero() {
		t.Errorf("what may wait at another listener of the address is told of this one: %+v", q)
	}
	if q := queueOf(look(1, nil), &queueLook{}); !q.Depth.IsZero() {
		t.Errorf("a listener that was closed has a depth: %+v", q)
	}
}

// Refused are those that both the listener and its namespace count.
func TestRefused(t *testing.T) {
	look := func(drops uint32, overflows diagnose.Maybe[uint64]) *queueLook {
		return &queueLook{found: true, drops: drops, dropsKnown: true, overflows: overflows}
	}
	at := diagnose.Known[uint64]
	for _, test := range []struct {
		name        string
		first, last *queueLook
		want        diagnose.Maybe[uint64]
	}{
		{"none", look(5, at(100)), look(5, at(100)), at(0)},
		{"the queue was full", look(5, at(100)), look(8, at(103)), at(3)},
		{"another one was full", look(5, at(100)), look(5, at(190)), at(0)},
		{"dropped for another reason", look(5, at(100)), look(6, at(100)), at(0)},
		{"the namespace was not read", look(5, diagnose.Maybe[uint64]{}), look(6, diagnose.Maybe[uint64]{}), diagnose.Maybe[uint64]{}},
	} {
		if got := queueOf(test.first, test.last).Refused; got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestParseNetstat(t *testing.T) {
	text := "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 23\nIpExt: ListenOverflows\nIpExt: 9\n"
	if n, ok := parseNetstat(text, "TcpExt", "ListenOverflows"); !ok || n != 22 {
		t.Errorf("got %d, %v; want 22", n, ok)
	}
	if _, ok := parseNetstat(text, "TcpExt", "Nothing"); ok {
		t.Error("a number that is not there was read")
	}
}

func TestSameListener(t *testing.T) {
	for _, test := range []struct {
		listener, local string
		want            bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true}, {"0.0.0.0:80", "192.0.2.1:80", true}, {"[::]:80", "192.0.2.1:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false}, {"0.0.0.0:80", "192.0.2.1:81", false},
	} {
		if got := sameListener(netip.MustParseAddrPort(test.listener), netip.MustParseAddrPort(test.local)); got != test.want {
			t.Errorf("%s came to %s: %v", test.local, test.listener, got)
		}
	}
}
