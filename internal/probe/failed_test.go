package probe

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
)

// withoutDescriptors runs fn while this process may open none.
func withoutDescriptors(t *testing.T, fn func()) {
	t.Helper()
	var had unix.Rlimit
	check(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &had))
	check(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: had.Max}, nil))
	defer func() { check(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, &had, nil)) }()
	fn()
}

// inMatrix says that this is a kernel of the matrix, of which tests may change
// what the whole host shares.
func inMatrix() bool { return os.Getenv("ACCEPTWATCH_MODES") != "" }

func acceptErrorsAt(t *testing.T, tr *Tracer, s *server) []listener.AcceptError {
	t.Helper()
	sample := must(tr.Sample(false))(t)
	return slices.DeleteFunc(sample.AcceptErrors, func(e listener.AcceptError) bool { return e.Key.Addr != s.addr })
}

func TestFailedAcceptsAreCountedByErrno(t *testing.T) {
	const tries = 500
	try := func(t *testing.T, s *server, want unix.Errno) {
		for range tries {
			if _, _, err := unix.Accept4(s.fd, 0); err != want {
				t.Fatalf("accept: %v, want %v", err, want)
			}
		}
	}
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m, Filter: filter.Filter{Addr: netip.MustParsePrefix("127.0.0.4/32")}})
		for _, c := range []struct {
			errno unix.Errno
			fail  func(*server)
		}{
			{unix.EMFILE, func(s *server) { withoutDescriptors(t, func() { try(t, s, unix.EMFILE) }) }},
			{unix.ENFILE, func(s *server) { withoutFiles(t, func() { try(t, s, unix.ENFILE) }) }},
			{unix.EINVAL, func(s *server) {
				check(t, unix.Shutdown(s.fd, unix.SHUT_RD))
				try(t, s, unix.EINVAL)
			}},
		} {
			if c.errno == unix.ENFILE && !inMatrix() {
				continue // the limit on files is that of the whole host
			}
			s := listen(t, "127.0.0.4:0", 8)
			connect(t, s.addr)
			id := sampleOf(t, tr, s.addr).ID
			c.fail(s)
			if c.errno == unix.EINVAL {
				id = 0 // it is no listener any more
			}
			events := readUntil(t, tr, has(1, s.addr, event.AcceptError))
			e := only(events, s.addr, event.AcceptError)[0]
			if e.Errno != uint16(c.errno) || e.PID != uint32(os.Getpid()) || e.FD != int32(s.fd) || e.Repeats == 0 || e.ListenerID != id {
				t.Errorf("%v: got errno %d pid %d fd %d repeats %d listener %d", c.errno, e.Errno, e.PID, e.FD, e.Repeats, e.ListenerID)
			}
			if id != 0 && (e.Depth != 1 || e.Backlog != 8) {
				t.Errorf("%v: the queue has %d, backlog %d; want 1, 8", c.errno, e.Depth, e.Backlog)
			}
			got := acceptErrorsAt(t, tr, s)
			if len(got) != 1 || got[0].Count != tries || got[0].Errno != uint16(c.errno) || got[0].PID != uint32(os.Getpid()) || got[0].Comm != e.Comm {
				t.Errorf("%v: counted %+v, want %d failures", c.errno, got, tries)
			}
		}
	}, Fentry, Kprobe)
}

// Several threads that fail at once make events that add up to no more than the
// failures there were.
func TestFailuresOfManyThreadsAreToldOnce(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		var failing sync.WaitGroup
		var stop atomic.Bool
		var events []event.Event
		withoutDescriptors(t, func() {
			for range 4 {
				failing.Go(func() {
					for !stop.Load() {
						unix.Accept4(s.fd, 0)
					}
				})
			}
			events = readUntil(t, tr, has(3, s.addr, event.AcceptError))
			stop.Store(true)
			failing.Wait()
		})
		told := uint64(0)
		for _, e := range only(events, s.addr, event.AcceptError) {
			if e.Repeats == 0 {
				t.Errorf("an event tells of no failure: %+v", e)
			}
			told += uint64(e.Repeats)
		}
		if got := acceptErrorsAt(t, tr, s); len(got) != 1 || told > got[0].Count || told < 3 {
			t.Errorf("events tell of %d failures, counted %+v", told, got)
		}
	}, Fentry, Kprobe)
}

func TestRepeatsAreThoseSinceTheLastEvent(t *testing.T) {
	failed := newFailedAccepts()
	for i, c := range []struct{ fd, count, want uint32 }{
		{3, 1, 1}, {3, 500, 499}, {3, 400, 0}, {4, 7, 7}, {3, 501, 1}, {3, 501, 0},
	} {
		e := event.Event{Kind: event.AcceptError, PID: 9, FD: int32(c.fd), Errno: 24, Repeats: c.count}
		if news := failed.sinceLast(&e); news != (c.want != 0) || news && e.Repeats != c.want {
			t.Errorf("%d: %v, %d repeats; want %d", i, news, e.Repeats, c.want)
		}
	}
	failed.forget(tracingAcceptErrorKey{Pid: 9, Fd: 3, Error: 24})
	if e := (event.Event{PID: 9, FD: 3, Errno: 24, Repeats: 2}); !failed.sinceLast(&e) || e.Repeats != 2 {
		t.Errorf("after it was forgotten: %d repeats, want 2", e.Repeats)
	}
}

// withoutFiles runs fn without privilege while the host has no file left.
func withoutFiles(t *testing.T, fn func()) {
	t.Helper()
	const limit = "/proc/sys/fs/file-max"
	had := must(os.ReadFile(limit))(t)
	set := must(os.OpenFile(limit, os.O_WRONLY, 0))(t)
	defer set.Close()
	// A write that does not begin at 0 changes nothing (sysctl_writes_strict).
	defer func() {
		must(set.WriteAt(had, 0))(t)
		if now := must(os.ReadFile(limit))(t); string(now) != string(had) {
			t.Errorf("%s is %s, and was %s", limit, now, had)
		}
	}()
	check(t, onNewThread(func() error {
		must(set.Write([]byte("0")))(t)
		var none [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			return err
		}
		fn()
		return nil
	}))
}

// An accept() that has nothing to take, or that a signal interrupts or restarts,
// did not fail.
func TestEmptyHandedAcceptIsNoFailure(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})

		check(t, unix.SetNonblock(s.fd, true))
		if _, _, err := unix.Accept4(s.fd, 0); err != unix.EAGAIN {
			t.Fatalf("accept: %v, want EAGAIN", err)
		}
		check(t, unix.SetNonblock(s.fd, false))
		// With a timeout a signal ends the call, without it restarts it.
		timeout := unix.Timeval{Sec: 30}
		check(t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
		if err := interrupted(t, s.fd); err != unix.EINTR {
			t.Fatalf("accept: %v, want EINTR", err)
		}
		check(t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{}))
		go func() {
			time.Sleep(300 * time.Millisecond)
			connect(t, s.addr)
		}()
		if err := interrupted(t, s.fd); err != nil {
			t.Fatalf("accept: %v, want a restart and then the connection", err)
		}
		// What is counted after them is counted.
		withoutDescriptors(t, func() { unix.Accept4(s.fd, 0) })
		readUntil(t, tr, has(1, s.addr, event.AcceptError))
		if got := acceptErrorsAt(t, tr, s); len(got) != 1 || got[0].Errno != uint16(unix.EMFILE) || got[0].Count != 1 {
			t.Errorf("counted %+v, want EMFILE once", got)
		}
	}, Fentry, Kprobe)
}

// interrupted accepts on a thread that gets a signal while it blocks.
func interrupted(t *testing.T, fd int) error {
	t.Helper()
	var tid atomic.Int64
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid.Store(int64(unix.Gettid()))
		got, _, err := unix.Accept4(fd, 0)
		if err == nil {
			unix.Close(got)
		}
		done <- err
	}()
	blockedIn := func() bool {
		wchan, _ := os.ReadFile("/proc/self/task/" + strconv.FormatInt(tid.Load(), 10) + "/syscall")
		return strings.HasPrefix(string(wchan), strconv.Itoa(unix.SYS_ACCEPT4)+" ")
	}
	for tid.Load() == 0 || !blockedIn() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	check(t, unix.Tgkill(os.Getpid(), int(tid.Load()), unix.SIGURG))
	return <-done
}
