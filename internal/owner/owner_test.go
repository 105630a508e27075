package owner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// tree is a made-up /proc.
type tree struct {
	t    testing.TB
	root string
}

func newTree(t testing.TB) tree { return tree{t, t.TempDir()} }

func (p tree) file(path, text string) {
	p.t.Helper()
	path = filepath.Join(p.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		p.t.Fatal(err)
	}
}

// process makes /proc/PID with stat and fd; the links are those of fd 0, 1, ...
func (p tree) process(pid int, comm string, start uint64, links ...string) {
	p.t.Helper()
	p.file(fmt.Sprintf("%d/stat", pid), statLine(pid, comm, start))
	p.fds(fmt.Sprintf("%d/fd", pid), links...)
}

func (p tree) fds(dir string, links ...string) {
	p.t.Helper()
	dir = filepath.Join(p.root, dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for fd, link := range links {
		if err := os.Symlink(link, filepath.Join(dir, fmt.Sprint(fd))); err != nil {
			p.t.Fatal(err)
		}
	}
}

func statLine(pid int, comm string, start uint64) string {
	return fmt.Sprintf("%d (%s) S 1 1 1 0 -1 4194560 300 0 0 0 1 2 0 0 20 0 5 0 %d 1 2 3\n", pid, comm, start)
}

func set(inodes ...uint32) map[uint32]struct{} {
	m := make(map[uint32]struct{})
	for _, inode := range inodes {
		m[inode] = struct{}{}
	}
	return m
}

func TestScanTree(t *testing.T) {
	p := newTree(t)
	p.process(1, "init", 1, "/dev/null")
	p.process(20, "nginx: (a) b", 77, "/dev/null", "socket:[5]", "pipe:[5]", "socket:[6]", "socket:[5]")
	p.process(21, "nginx", 78, "socket:[5]")
	p.process(22, "other", 79, "socket:[55]", "socket:[]", "socket:[99999999999]", "anon_inode:[eventpoll]")
	p.file("net/tcp", "not a process")
	p.file("23/stat", statLine(23, "gone", 80)) // no fd directory: exiting
	// The first thread has exited, the second holds the socket.
	p.process(30, "leaderless", 81)
	p.fds("30/task/30/fd")
	p.fds("30/task/31/fd", "socket:[7]")

	got, report, err := Scanner{Proc: p.root}.Scan(set(5, 6, 7, 8))
	if err != nil {
		t.Fatal(err)
	}
	for _, owners := range got {
		slices.SortFunc(owners, func(a, b Process) int { return a.PID - b.PID })
	}
	want := map[uint32][]Process{
		5: {
			{PID: 20, Comm: "nginx: (a) b", FDs: []int{1, 4}, StartTime: 77},
			{PID: 21, Comm: "nginx", FDs: []int{0}, StartTime: 78},
		},
		6: {{PID: 20, Comm: "nginx: (a) b", FDs: []int{3}, StartTime: 77}},
		7: {{PID: 30, Comm: "leaderless", FDs: []int{0}, StartTime: 81}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := (Report{Processes: 6, FDs: 12}); report != want {
		t.Errorf("report %+v, want %+v", report, want)
	}
}

func TestScanRefusesADirectoryThatIsMissing(t *testing.T) {
	if _, _, err := (Scanner{Proc: "/nonexistent"}).Scan(set(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// A process whose start time changes during the scan is another process.
func TestReusedPIDIsNotAnOwner(t *testing.T) {
	p := newTree(t)
	p.process(20, "old", 77, "socket:[5]")
	p.process(21, "new", 99)
	// The old process's descriptors and stat by way of another directory, as
	// an open descriptor of a dead process's directory would see them.
	if err := os.RemoveAll(filepath.Join(p.root, "21/fd")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../20/fd", filepath.Join(p.root, "21/fd")); err != nil {
		t.Fatal(err)
	}
	got, _, err := Scanner{Proc: p.root}.Scan(set(5))
	if err != nil {
		t.Fatal(err)
	}
	if len(got[5]) != 1 || got[5][0].PID != 20 {
		t.Errorf("got %+v, want only process 20", got)
	}
}

func TestReportSaysWhatIsMissing(t *testing.T) {
	var r Report
	r.failed(1, unix.ENOENT)
	r.failed(1, unix.ESRCH)
	if !r.Complete() || r.String() != "" {
		t.Errorf("processes that exited: %q", r)
	}
	r.failed(2, unix.EACCES)
	if got := r.String(); r.Complete() || !strings.HasPrefix(got, "1 process could not be inspected (permission denied") {
		t.Errorf("got %q", got)
	}
	r.failed(3, unix.EPERM)
	r.failed(4, unix.EMFILE)
	want := "2 processes could not be inspected (permission denied: it needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root); " +
		"1 process could not be inspected (inspect process 4: too many open files)"
	if got := r.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	r = Report{Denied: 1, EvenRoot: true}
	if got := r.String(); got != "1 process could not be inspected (permission denied: "+capability.EvenRoot+")" {
		t.Errorf("denied to root: %q", got)
	}
}

func TestParseStat(t *testing.T) {
	for _, tt := range []struct {
		text string
		want stat
		bad  bool
	}{
		{statLine(7, "a", 5), stat{"a", 5}, false},
		{statLine(7, ") S 1 (", 1<<63), stat{") S 1 (", 1 << 63}, false},
		{statLine(7, "", 5), stat{"", 5}, false},
		{"", stat{}, true},
		{"7 (a) S 1", stat{}, true},
		{"7 )a( S", stat{}, true},
		{strings.Replace(statLine(7, "a", 5), " 5 1 2 3", " x 1 2 3", 1), stat{}, true},
	} {
		got, err := parseStat([]byte(tt.text))
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: %+v, %v", tt.text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(statLine(7, "a) b", 5)))
	f.Add([]byte("socket:[12]"))
	f.Add([]byte("288 0x3 0x0 0x0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseStat(b)
		if inode, ok := parseSocketLink(b); ok && fmt.Sprintf("socket:[%d]", inode) != string(b) &&
			!strings.Contains(string(b), "[0") {
			t.Errorf("%q is not socket %d", b, inode)
		}
		if fd, ok := parseSyscall(b, []int{43, 288}); ok != (fd >= 0) {
			t.Errorf("%q: fd %d, %v", b, fd, ok)
		}
		classifyWchan(b)
		for rest, ok := b, true; ok && len(rest) > 0; {
			_, rest, ok = nextDirent(rest)
		}
	})
}

func TestThreadsOfATree(t *testing.T) {
	calls := acceptCalls("amd64")
	for _, tt := range []struct {
		name, wchan, syscall string
		fd                   int // -2: not in accept
	}{
		{"accept4", "inet_csk_accept", "288 0x3 0x0 0x0 0x80000 0x0 0x0 0x7ffd 0x7f00", 3},
		{"accept, wchan refused", "0", "43 0x1 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f00", 1},
		{"syscall refused", "inet_csk_accept", "", -1},
		{"io_uring worker", "inet_csk_accept", "-1 0x7ffd 0x7f00", -1},
		{"not inlined", "inet_csk_wait_for_connect.isra.0", "", -1},
		{"epoll", "do_epoll_wait", "232 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f00", -2},
		{"accept on AF_UNIX", "__skb_wait_for_more_packets", "288 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f00", -2},
		{"running", "0", "running", -2},
		{"a negative descriptor", "0", "288 0xffffffff 0x0 0x0", -2},
		{"upper half of the register", "0", "288 0xdead00000003 0x0 0x0", 3},
		{"nothing", "", "", -2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTree(t)
			p.file("9/task/11/wchan", tt.wchan)
			p.file("9/task/11/syscall", tt.syscall)
			p.file("9/task/11/comm", "worker\n")
			p.fds("9/task/11/fd", "/dev/null", "socket:[51]", "/dev/null", "socket:[53]")

			var want []Thread
			switch tt.fd {
			case -2:
			case -1:
				want = []Thread{{PID: 9, TID: 11, Comm: "worker", FD: -1}}
			default:
				want = []Thread{{PID: 9, TID: 11, Comm: "worker", FD: tt.fd, Inode: 50 + uint32(tt.fd)}}
			}
			w := waiting{dirents: make([]byte, direntSize), calls: calls}
			proc, err := unix.Open(p.root, openDir, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(proc)
			if err := w.process(proc, 9); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, w.found); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCacheScansOnceAnInterval(t *testing.T) {
	now := time.Unix(1000, 0)
	scans := 0
	var fail error
	c := NewCache(Scanner{}, time.Second, func() time.Time { return now })
	c.scan = func(inodes map[uint32]struct{}) (map[uint32][]Process, Report, error) {
		scans++
		found := make(map[uint32][]Process)
		for inode := range inodes {
			if inode < 100 {
				found[inode] = []Process{{PID: scans}}
			}
		}
		return found, Report{Processes: scans}, fail
	}
	check := func(inode uint32, pid int, known bool) {
		t.Helper()
		owners, gotKnown := c.Owners(inode)
		got := 0
		if len(owners) > 0 {
			got = owners[0].PID
		}
		if got != pid || gotKnown != known {
			t.Errorf("socket %d: owner %d, known %v; want %d, %v", inode, got, gotKnown, pid, known)
		}
	}
	refresh := func(want bool, inodes ...uint32) {
		t.Helper()
		if got, err := c.Refresh(set(inodes...)); got != want || !errors.Is(err, fail) {
			t.Errorf("scanned %v, %v; want %v, %v", got, err, want, fail)
		}
	}

	check(1, 0, false)
	refresh(true, 1, 200)
	check(1, 1, true)
	check(200, 0, true) // nobody holds it
	check(2, 0, false)  // nobody asked

	now = now.Add(999 * time.Millisecond)
	refresh(false, 1, 2, 200)
	check(2, 0, false)

	now = now.Add(time.Millisecond)
	refresh(true, 2)
	check(2, 2, true)
	check(1, 0, false)

	now = now.Add(time.Second)
	fail = errors.New("no proc")
	refresh(true, 2)
	check(2, 2, true)
	if r := c.Report(); r.Processes != 2 {
		t.Errorf("report %+v of the scan that failed", r)
	}
	refresh(false, 2)
}
