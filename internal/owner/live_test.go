package owner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T) (fd int, inode uint32, addr unix.Sockaddr) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	var st unix.Stat_t
	err = errors.Join(unix.Bind(fd, loopback), unix.Listen(fd, 5), unix.Fstat(fd, &st))
	if err == nil {
		addr, err = unix.Getsockname(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, uint32(st.Ino), addr
}

func TestScanFindsOwnAndInheritedSockets(t *testing.T) {
	fd, inode, _ := listen(t)
	second, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(second)

	// The child has it as descriptor 3.
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(dup), "listener")
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{file}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		child.Process.Kill()
		child.Wait()
	}()
	file.Close()

	unknown := uint32(1) // sockfs starts above
	got, report, err := Scanner{}.Scan(set(inode, unknown))
	if err != nil {
		t.Fatal(err)
	}
	owners := make(map[int]Process)
	for _, p := range got[inode] {
		owners[p.PID] = p
	}
	if len(owners) != 2 || len(got) != 1 {
		t.Fatalf("got %+v, want this process and %d", got, child.Process.Pid)
	}
	us, it := owners[os.Getpid()], owners[child.Process.Pid]
	if fmt.Sprint(us.FDs) != fmt.Sprint([]int{fd, second}) || us.Comm == "" || us.StartTime == 0 {
		t.Errorf("got %+v, want descriptors %d and %d", us, fd, second)
	}
	if fmt.Sprint(it.FDs) != "[3]" || it.Comm != "sleep" || it.StartTime < us.StartTime {
		t.Errorf("got %+v, want descriptor 3 of sleep", it)
	}
	if report.Processes < 2 || report.FDs < 3 {
		t.Errorf("report %+v", report)
	}
}

// The reference is the slow way with package os.
func TestScanAgreesWithReadingEachLink(t *testing.T) {
	_, inode, _ := listen(t)
	target := fmt.Sprintf("socket:[%d]", inode)
	want := 0
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range links {
		if link, err := os.Readlink(path); err == nil && link == target {
			want++
		}
	}
	got, _, err := Scanner{}.Scan(set(inode))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range got[inode] {
		n += len(p.FDs)
	}
	if n != want || n == 0 {
		t.Errorf("%d descriptors, want %d", n, want)
	}
}

func TestUnreadableProcessesAreCounted(t *testing.T) {
	if os.Geteuid() == 0 {
		// The test binary may lie in a directory that only root can enter, but
		// its own link can be followed.
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestUnreadableProcessesAreCounted$")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("as an unprivileged user: %v\n%s", err, out)
		}
		return
	}
	_, report, err := Scanner{}.Scan(set(1))
	if err != nil {
		t.Fatal(err)
	}
	if report.Denied == 0 || report.Complete() || !strings.Contains(report.String(), "could not be inspected") {
		t.Errorf("process 1 belongs to root, so something must be denied: %+v", report)
	}
	if got, report, err := (Scanner{}).BlockedInAccept([]int{1}); err != nil || len(got) != 0 || report.Denied != 1 {
		t.Errorf("threads of process 1: %+v, %+v, %v; want it denied", got, report, err)
	}
}

func TestBlockedInAccept(t *testing.T) {
	fd, inode, addr := listen(t)
	result := make(chan error, 1)
	tid := make(chan int, 1)
	go func() {
		// A blocking system call keeps its thread.
		tid <- unix.Gettid()
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err == nil {
			unix.Close(conn)
		}
		result <- err
	}()
	want := <-tid

	s := Scanner{}
	var got []Thread
	deadline := time.Now().Add(5 * time.Second)
	for len(got) == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
		var err error
		if got, _, err = s.BlockedInAccept([]int{os.Getpid()}); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 1 || got[0].Inode != inode || got[0].FD != fd || got[0].PID != os.Getpid() {
		t.Errorf("got %+v; want thread %d in accept(%d) on socket %d", got, want, fd, inode)
	}

	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	if err := unix.Connect(client, addr); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.BlockedInAccept([]int{os.Getpid()}); err != nil || len(got) != 0 {
		t.Errorf("after accept: %+v, %v", got, err)
	}
}

func TestBlockedInAcceptOfAProcessThatIsGone(t *testing.T) {
	got, report, err := Scanner{}.BlockedInAccept([]int{1 << 30})
	if err != nil || len(got) != 0 || !report.Complete() {
		t.Errorf("got %+v, %+v, %v", got, report, err)
	}
}

func TestStartTimeIsThisProcess(t *testing.T) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseStat(b)
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil || got.comm != string(bytes.TrimSpace(comm)) {
		t.Errorf("comm %q, want %q", got.comm, comm)
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	const ticks = 100 // USER_HZ, the same on all architectures
	if started := float64(got.startTime) / ticks; started > seconds || started < seconds-3600 {
		t.Errorf("started %.1f s after boot, now it is %.1f s", started, seconds)
	}
}

func BenchmarkScanThisMachine(b *testing.B) {
	var report Report
	for b.Loop() {
		var err error
		if _, report, err = (Scanner{}).Scan(set(1)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ReportMetric(float64(report.Processes), "processes")
	b.ReportMetric(float64(report.FDs), "fds")
}

// BenchmarkScanTree is a made-up tree: its file system is faster than proc, which
// makes its entries up at each look.
func BenchmarkScanTree(b *testing.B) {
	p := newTree(b)
	for pid := 1; pid <= 2000; pid++ {
		links := make([]string, 50)
		for fd := range links {
			links[fd] = fmt.Sprintf("socket:[%d]", pid*100+fd)
		}
		p.process(pid, "server", uint64(pid), links...)
	}
	b.ReportAllocs()
	for b.Loop() {
		got, report, err := Scanner{Proc: p.root}.Scan(set(500, 100_007))
		if err != nil || len(got) != 2 || report.FDs != 100_000 {
			b.Fatal(len(got), report, err)
		}
	}
}
