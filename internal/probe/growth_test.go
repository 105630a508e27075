//go:build growth

package probe

import (
	"bufio"
	goflag "flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/growth"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/netns"
)

// What a start, a walk, a sample and a snapshot cost on this host, in restricted
// mode, by what there is to look at. All is in a network namespace of its own, and
// nothing else is looked at. Costs are processor time of the calling process, to
// which the kernel's part belongs.
func TestGrowthOfLooking(t *testing.T) {
	release := strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))(t)))
	where := "On this host, kernel " + strings.SplitN(release, "-", 2)[0] + ", mode restricted"
	most := 1_000_000
	if testing.Short() {
		most = 2_000
	}
	powers := func(most int) (sizes []int) {
		for n := 1; n < most; n *= 10 {
			sizes = append(sizes, n)
		}
		return append(sizes, most)
	}
	t.Run("listeners", func(t *testing.T) {
		ownNamespace(t)
		l := looks(where, "listeners", true)
		have := 0
		for _, n := range powers(min(most, 100_000)) {
			holders(t, holdListeners, have, n)
			have = n
			l.measure(t, n)
		}
		l.print(t)
	})
	t.Run("depth", func(t *testing.T) {
		ownNamespace(t)
		fd := must(listenOn(0, 1<<17))(t)
		defer unix.Close(fd)
		holders(t, holdListeners, 1, 2) // a namespace is found by its processes
		l := looks(where, "depth of one queue", true)
		have := 0
		for _, n := range powers(min(most, 65_535)) {
			for ; have < n; have++ {
				client := must(connectFrom(have))(t)
				// A socket under repair goes without a word.
				check(t, unix.SetsockoptInt(client, unix.SOL_TCP, unix.TCP_REPAIR, 1))
				check(t, unix.Close(client))
			}
			l.measure(t, n)
		}
		l.print(t)
	})
	// What a start and a walk do not have to look at.
	t.Run("sockets", func(t *testing.T) {
		ownNamespace(t)
		l := looks(where, "other sockets of the host", false)
		have := 0
		for _, n := range powers(most) {
			holders(t, holdConnections, have, n)
			have = n
			l.measure(t, n)
		}
		l.print(t)
	})
}

// ownNamespace moves the test's thread into a network namespace of its own.
func ownNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // and it ends with the test
	check(t, unix.Unshare(unix.CLONE_NEWNET))
	check(t, loopbackUp())
	check(t, os.WriteFile("/proc/sys/net/core/somaxconn", []byte("131072"), 0o644))
}

func numbered(i int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: [4]byte{127, 1, byte(i >> 16), byte(i >> 8)}, Port: 10_000 + i%256}
}

func listenOn(i, backlog int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, numbered(i))
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	return fd, err
}

// connectFrom connects to the first listener.
func connectFrom(i int) (int, error) { return connectTo(i, numbered(0)) }

// connectTo connects from an address and a port that no other i has.
func connectTo(i int, to *unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 2, 0, byte(i / 10_000)}, Port: 20_000 + i%10_000})
	}
	if err == nil {
		err = unix.Connect(fd, to)
	}
	return fd, err
}

// What a process holds that holders starts.
const (
	holdListeners   = "listeners"
	holdConnections = "connections"
	heldByOne       = 19_000 // sockets: by default a process may have 20,000 descriptors
)

// holders starts processes, in the network namespace of the calling thread, that
// hold what is numbered from up to to, until the test ends.
func holders(t *testing.T, what string, from, to int) {
	t.Helper()
	for ; from < to; from += heldByOne {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestHoldsSockets$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("ACCEPTWATCH_HOLD=%s %d %d", what, from, min(to, from+heldByOne)))
		cmd.Stderr = os.Stderr
		end := must(cmd.StdinPipe())(t)
		out := must(cmd.StdoutPipe())(t)
		check(t, cmd.Start())
		t.Cleanup(func() { end.Close(); _ = cmd.Wait() })
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("hold %s: %q, %v", what, line, err)
		}
	}
}

// TestHoldsSockets is a process that holders starts.
func TestHoldsSockets(t *testing.T) {
	var what string
	var from, to int
	if n, _ := fmt.Sscan(os.Getenv("ACCEPTWATCH_HOLD"), &what, &from, &to); n != 3 {
		t.Skip("started by TestGrowthOfLooking")
	}
	switch what {
	case holdListeners:
		for i := from; i < to; i++ {
			must(listenOn(i, 16))(t)
		}
	case holdConnections:
		fd := must(listenOn(from, 1<<15))(t)
		for i := from; i < to; i += 2 {
			must(connectTo(i, numbered(from)))(t)
			_, _, err := unix.Accept4(fd, 0)
			check(t, err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// looking is what is measured at each size.
type looking struct{ start, walk, sample, snapshot, snapshotMemory growth.Series }

// looks begins the series; some of them have to look at all there is.
func looks(where, by string, linear bool) *looking {
	series := func(cost, unit string, linear bool) growth.Series {
		return growth.Series{Cost: cost, Unit: unit, By: by, Where: where, Linear: linear}
	}
	return &looking{
		start:          series("a start, until attached and the queues are known", "ms of CPU", linear),
		walk:           series("a walk of the queues", "ms of CPU", linear),
		sample:         series("a sample of the counts", "ms of CPU", linear && by == "listeners"),
		snapshot:       series("acceptwatch snapshot --mode diag", "ms of CPU", true),
		snapshotMemory: series("the same, memory", "MiB", true),
	}
}

func (l *looking) print(t *testing.T) {
	for _, s := range []*growth.Series{&l.start, &l.walk, &l.sample, &l.snapshot, &l.snapshotMemory} {
		if len(s.Points) > 0 {
			check(t, s.Print(os.Stdout))
		}
	}
}

func (l *looking) measure(t *testing.T, n int) {
	t.Helper()
	add := func(s *growth.Series, cost float64) {
		s.Points = append(s.Points, growth.Point{Size: float64(n), Cost: cost})
	}
	var tr *Tracer
	add(&l.start, meanCPU(t, 5, func() {
		if tr != nil {
			check(t, tr.Close())
		}
		tr = must(Open(Options{Mode: Restricted, Filter: filter.Filter{NetNS: must(netns.Current())(t).Inode}}))(t)
		check(t, tr.Walk())
		check(t, tr.drain(func(*event.Event) {}))
	}))
	table := listener.New(listener.Options{})
	add(&l.walk, meanCPU(t, 20, func() {
		check(t, tr.Walk())
		check(t, tr.drain(func(e *event.Event) { table.Apply(e, nil) }))
	}))
	add(&l.sample, meanCPU(t, 20, func() { table.Update(must(tr.Sample(true))(t), nil) }))
	check(t, tr.Close())
	cpu, memory := usageOf(t, "snapshot", "--mode", "diag", "--netns", "/proc/self/ns/net", "-o", "json")
	add(&l.snapshot, cpu)
	add(&l.snapshotMemory, memory)
}

// usageOf runs the program in the network namespace of this thread, and gives
// its processor time in ms and its memory in MiB. A small process starts it, as
// the memory of who starts a process is counted as its own at first.
func usageOf(t *testing.T, args ...string) (cpu, memory float64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-test.run", "^TestRunsTheProgram$", "-test.v", "--"}, args...)...)
	cmd.Env = append(os.Environ(), "ACCEPTWATCH_USAGE=1")
	for line := range strings.Lines(string(must(cmd.Output())(t))) {
		if n, _ := fmt.Sscanf(line, "usage: %f ms %f MiB", &cpu, &memory); n == 2 {
			return cpu, memory
		}
	}
	t.Fatal("the program's usage is not told")
	return 0, 0
}

// TestRunsTheProgram is a process that usageOf starts.
func TestRunsTheProgram(t *testing.T) {
	if os.Getenv("ACCEPTWATCH_USAGE") == "" {
		t.Skip("started by TestGrowthOfLooking")
	}
	binary := os.Getenv("ACCEPTWATCH_BIN")
	if binary == "" {
		t.Fatal("ACCEPTWATCH_BIN names no program to measure")
	}
	cmd := exec.Command(binary, goflag.Args()...)
	check(t, cmd.Run())
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	fmt.Printf("usage: %f ms %f MiB\n", float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())/1e6, float64(usage.Maxrss)/1024)
}

// meanCPU is the mean processor time of so many calls, in ms. That of threads is
// told when they have ended, which those that enter namespaces do a moment later.
func meanCPU(t *testing.T, times int, call func()) float64 {
	t.Helper()
	const moment = 20 * time.Millisecond
	runtime.GC()
	time.Sleep(moment)
	before := processorTime(t)
	for range times {
		call()
	}
	time.Sleep(moment)
	return float64(processorTime(t)-before) / float64(times) / 1e6
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	check(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
