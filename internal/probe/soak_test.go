//go:build soak

package probe

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// What must not grow, whatever comes and goes. ACCEPTWATCH_SOAK divides the
// numbers of the tests, for machines under emulation.

// Huge pages would be resident as a whole again some time after Go has given parts of
// them back, so that what is resident would grow though nothing more is held. So would
// the table of Go's heap profile, which has an entry for each stack that ever asked for
// memory; acceptwatch itself takes none.
func init() {
	runtime.MemProfileRate = 0
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		panic(err)
	}
}

func divided(t *testing.T, n int) int {
	t.Helper()
	by := os.Getenv("ACCEPTWATCH_SOAK")
	if by == "" {
		return n
	}
	return max(n/must(strconv.Atoi(by))(t), 1)
}

// held is what the process and the host hold for the tracer.
type holding struct {
	kernel      map[string]int
	descriptors int
	goroutines  int
	memory      int // KiB resident
}

func holdings(t *testing.T) holding {
	t.Helper()
	debug.FreeOSMemory() // what is resident is then what is held
	h := holding{kernel: kernelObjects(t), goroutines: runtime.NumGoroutine()}
	h.descriptors = len(must(os.ReadDir("/proc/self/fd"))(t))
	var pages, resident int
	fmt.Sscan(string(must(os.ReadFile("/proc/self/statm"))(t)), &pages, &resident)
	h.memory = resident * os.Getpagesize() / 1024
	return h
}

// underLoad keeps connections coming and going until the returned function is
// called, which returns how many there were. It leaves most of the CPUs' time to
// those who attach: an emulated one has little.
func underLoad(t *testing.T, s *server) func() int {
	t.Helper()
	stop := make(chan struct{})
	var accepting, connecting sync.WaitGroup
	accepting.Go(func() {
		for {
			fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			unix.Close(fd)
		}
	})
	made := 0
	connecting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := once(s.addr); err != nil {
				t.Error(err)
				return
			}
			made++
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() int {
		close(stop)
		connecting.Wait()
		unix.Shutdown(s.fd, unix.SHUT_RD)
		accepting.Wait()
		return made
	}
}

// once connects and closes by RST, which leaves no TIME_WAIT behind.
func once(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return err
	}
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

func TestAttachingAThousandTimesLeavesNothing(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 128)
		cycle := func(n int) {
			for done := range n {
				if done%100 == 50 {
					t.Logf("after %d: %+v", done, holdings(t))
				}
				tr := must(Open(Options{Mode: m, Filter: onPort(s.addr.Port())}))(t)
				check(t, tr.Walk())
				check(t, tr.Read(func(*event.Event) {}))
				must(tr.Sample(true))(t)
				check(t, tr.Close())
			}
		}
		// The load has descriptors too, so it is not there when they are counted.
		stop := underLoad(t, s)
		cycle(10)
		stop()
		s.close()
		time.Sleep(2 * time.Second) // the kernel frees after a grace period
		before := holdings(t)
		times := divided(t, 1000)
		s = listen(t, "127.0.0.1:0", 128)
		stop = underLoad(t, s)
		cycle(times)
		made := stop()
		s.close()
		var after holding
		for range 600 { // as above, however long that takes
			after = holdings(t)
			if after.kernel["programs"] <= before.kernel["programs"] && after.kernel["maps"] <= before.kernel["maps"] {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("%d times, %d connections meanwhile: before %+v, after %+v", times, made, before, after)
		for what, n := range before.kernel {
			if after.kernel[what] > n {
				t.Errorf("%d %s before, %d after", n, what, after.kernel[what])
			}
		}
		if after.descriptors > before.descriptors || after.goroutines > before.goroutines || after.memory > before.memory+8<<10 {
			t.Errorf("before %+v, after %+v", before, after)
		}
	}, Fentry, Kprobe, Restricted)
}

// Listeners come and go: their entries and histograms are given back, and
// whatever happened on each is counted.
func TestTwentyThousandListenersComeAndGo(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m})
		table := listener.New(listener.Options{StallAfter: time.Hour, Start: monotonic()})
		take := func() {
			check(t, tr.Read(func(e *event.Event) { table.Apply(e, nil) }))
			table.Update(must(tr.Sample(true))(t), nil)
		}
		n := divided(t, 20000)
		onOneCPU(t) // or an RST may overtake the handshake, and accept() wait for ever
		var before holding
		for i := range n {
			s := listen(t, "127.0.0.1:0", 8)
			check(t, once(s.addr))
			unix.Close(must(acceptCall(s.fd))(t))
			s.close()
			if i%100 == 0 {
				take()
			}
			if i == n/10 {
				before = holdings(t)
			}
		}
		take()
		take()
		after := holdings(t)
		t.Logf("%d listeners: before %+v, after %+v", n, before, after)
		var accepted, closed uint64
		for _, r := range table.Rows() {
			accepted += r.Accepted
			closed += r.Closed
		}
		if accepted != uint64(n) || closed != uint64(n) {
			t.Errorf("%d accepted and %d closed, want %d", accepted, closed, n)
		}
		for _, loss := range table.Losses() {
			if loss.What != "recursion_misses" {
				t.Errorf("%d %s", loss.Count, loss.Text)
			}
		}
		left := 0
		check(t, tr.counts.eachListener(func(*tracingListener) error { left++; return nil }))
		if left > 10 {
			t.Errorf("%d entries of listeners are left", left)
		}
		if after.memory > before.memory+64<<10 {
			t.Errorf("%d KiB before, %d after", before.memory, after.memory)
		}
	}, Fentry, Kprobe)
}

// onOneCPU keeps this thread on the first CPU for the time of the test.
func onOneCPU(t *testing.T) {
	t.Helper()
	var all, first unix.CPUSet
	check(t, unix.SchedGetaffinity(0, &all))
	first.Set(0)
	runtime.LockOSThread()
	check(t, unix.SchedSetaffinity(0, &first))
	t.Cleanup(func() {
		check(t, unix.SchedSetaffinity(0, &all))
		runtime.UnlockOSThread()
	})
}

// The books balance however many there are. What is held is compared with what was
// held after the first of them, when the ring's 8 MiB have been gone through once and
// are resident.
func TestAMillionConnectionsAreInTheBooks(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 512)
		check(t, unix.SetNonblock(s.fd, true))
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		overtaken := tcpExt(t)[embryonic]
		n := divided(t, 1000000)
		first := n / 10
		events := 0
		take := func() { check(t, tr.Read(func(e *event.Event) { events++ })) }
		come := func(n int) {
			done := make(chan struct{})
			go func() { comeAndGo(t, s, n); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				take()
				must(tr.Sample(false))(t)
			}
			take()
		}
		come(first)
		before := holdings(t)
		come(n)
		overtaken = tcpExt(t)[embryonic] - overtaken
		c := sampleOf(t, tr, s.addr)
		byAddress := addressOf(t, tr, s.addr).Accepted // whose program was skipped
		after := holdings(t)
		t.Logf("%d connections, %d events, %d %s, %d accepted by address, losses %+v: before %+v, after %+v", n, events, overtaken, embryonic, byAddress, tr.losses(), before, after)
		if c.Enqueued != uint64(first+n-overtaken) || c.Accepted+byAddress+c.Purged+uint64(c.Depth) != c.Enqueued || c.Waits.Count() != c.Accepted {
			t.Errorf("the books do not balance: %+v, %d waits", c, c.Waits.Count())
		}
		if after.descriptors > before.descriptors || after.goroutines > before.goroutines || after.memory > before.memory+8<<10 {
			t.Errorf("before %+v, after %+v", before, after)
		}
	}, Fentry, Kprobe)
}

// embryonic counts the connections that a client resets so soon that its RST overtakes,
// by way of another CPU, the ACK that ends the handshake: the client was connected, and
// they never enter the queue (tcp_check_req, net/ipv4/tcp_minisocks.c).
const embryonic = "EmbryonicRsts"

// comeAndGo makes n connections, half of them beside the other half. Each thread takes
// out what is there after each that it makes: a queue that is full makes clients wait
// for a second.
func comeAndGo(t *testing.T, s *server, n int) {
	var work sync.WaitGroup
	defer work.Wait()
	for _, share := range []int{n / 2, n - n/2} {
		work.Go(func() {
			for range share {
				err := once(s.addr)
				for err == nil {
					var fd int
					if fd, _, err = unix.Accept4(s.fd, unix.SOCK_CLOEXEC); err == nil {
						unix.Close(fd)
					}
				}
				if err != unix.EAGAIN {
					t.Error(err)
					return
				}
			}
		})
	}
}
