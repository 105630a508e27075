package sockdiag

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestAgreesWithProcNetTCP(t *testing.T) {
	l := listen(t, "127.0.0.1", 9)
	client := l.connect("127.0.0.1")
	l.connect("127.0.0.1")
	l.accept()
	if _, err := unix.Write(client, []byte("abc")); err != nil {
		t.Fatal(err)
	}

	type row struct {
		State        State
		RQueue, UID  uint32
		WQueue       uint32
		Inode        uint32
		Local, Remot string
	}
	want := make(map[string]row)
	f, err := os.Open("/proc/thread-self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	hex := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	dec := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	for lines.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		c := strings.Fields(lines.Text())
		if hex(strings.Split(c[1], ":")[1]) != uint32(l.addr.Port()) {
			continue
		}
		tx, rx, _ := strings.Cut(c[4], ":")
		r := row{State: State(hex(c[3])), RQueue: hex(rx), WQueue: hex(tx), UID: dec(c[7]), Inode: dec(c[9]), Local: c[1], Remot: c[2]}
		if r.State == Listen {
			r.WQueue = 9 // /proc shows 0 for the backlog
		}
		want[c[2]] = r
	}
	got := make(map[string]row)
	for _, s := range snapshot(t, l.query(0)) {
		r := row{s.State, s.RQueue, s.UID, s.WQueue, s.Inode, procAddr(s.Local), procAddr(s.Remote)}
		got[r.Remot] = r
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 3 {
		t.Errorf("%d sockets, /proc/net/tcp against sock_diag:\n%s", len(got), diff)
	}
}

// procAddr writes an IPv4 address as get_tcp4_sock does: the address as one
// number of the machine's byte order.
func procAddr(ap netip.AddrPort) string {
	a := ap.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(a[:]), ap.Port())
}
