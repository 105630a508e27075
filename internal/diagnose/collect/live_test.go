package collect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/owner"
)

// listening is a socket of this process that nobody accepts from.
func listening(t *testing.T) (fd int, l Listener) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 8); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	port := uint16(name.(*unix.SockaddrInet4).Port)
	return fd, Listener{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Inode: uint32(st.Ino)}
}

func holders(t *testing.T, inode uint32) []owner.Process {
	t.Helper()
	found, _, err := owner.Scanner{}.Scan(map[uint32]struct{}{inode: {}})
	if err != nil {
		t.Fatal(err)
	}
	return found[inode]
}

// blockedIn runs call on a thread of its own, and gives the thread's number.
func blockedIn(t *testing.T, call func()) int {
	t.Helper()
	tid := make(chan int)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends with the goroutine
		tid <- unix.Gettid()
		call()
	}()
	return <-tid
}

// TestThisProcessIsSeen collects the evidence of threads in known states.
func TestThisProcessIsSeen(t *testing.T) {
	fd, l := listening(t)
	client, err := net.Dial("tcp", l.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	peer, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	downstream, err := net.Dial("tcp4", peer.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer downstream.Close()
	file, err := downstream.(*net.TCPConn).File() // a blocking one
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET | unix.EPOLLEXCLUSIVE, Fd: int32(fd)}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.EpollWait(ep, make([]unix.EpollEvent, 1), -1); err != nil { // which tells of the client, and not again
		t.Fatal(err)
	}

	descriptor := int(file.Fd())
	reading := blockedIn(t, func() { _, _ = unix.Read(pipe[0], make([]byte, 1)) })
	receiving := blockedIn(t, func() {
		_ = unix.SetNonblock(descriptor, false)
		_, _ = unix.Read(descriptor, make([]byte, 1))
	})
	// Signals of Go's runtime end these calls, and are not there to end them.
	polling := blockedIn(t, func() {
		again(func() error {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(descriptor), Events: unix.POLLIN}}, -1)
			return err
		})
	})
	waiting := blockedIn(t, func() {
		again(func() error {
			_, err := unix.EpollWait(ep, make([]unix.EpollEvent, 1), -1)
			return err
		})
	})
	defer func() { // lets them all end
		unix.Close(pipe[1])
		conn, err := peer.Accept()
		if err == nil {
			_, _ = conn.Write([]byte("xx"))
			conn.Close()
		}
		another, err := net.Dial("tcp", l.Address.String())
		if err == nil {
			another.Close()
		}
	}()

	e := Run(context.Background(), l, holders(t, l.Inode), Options{Span: 500 * time.Millisecond, Mode: "diag"})
	if accepting, known := e.Queue.Accepting.Get(); e.Queue.Depth.Or(0) != 1 || accepting || !known {
		t.Errorf("the queue is %+v, want 1 entry that stays", e.Queue)
	}
	if len(e.Processes) != 1 || e.Processes[0].PID != os.Getpid() {
		t.Fatalf("the processes are %+v, want this one", e.Processes)
	}
	p := &e.Processes[0]
	if len(p.Watches) != 1 || p.Watches[0] != (diagnose.Watch{FD: ep, Edge: true, Exclusive: true}) {
		t.Errorf("the listener is watched by %+v, want descriptor %d, edge-triggered and exclusive", p.Watches, ep)
	}
	if n, known := p.Descriptors.Get(); !known || n < 8 {
		t.Errorf("descriptors: %d, %v", n, known)
	}
	address := peer.Addr().String()
	for _, want := range []struct {
		what string
		tid  int
		is   func(diagnose.Sight) bool
	}{
		{"reads a pipe", reading, func(s diagnose.Sight) bool { return s.Call == "read" && s.Target.Kind == diagnose.KindPipe }},
		{"reads from " + address, receiving, func(s diagnose.Sight) bool {
			return s.Call == "read" && s.Target.Peer == address && !s.Target.Client
		}},
		{"polls " + address, polling, func(s diagnose.Sight) bool {
			return (s.Call == "poll" || s.Call == "ppoll") && s.Target.Peer == address
		}},
		{"waits for the listener", waiting, func(s diagnose.Sight) bool {
			return (s.Call == "epoll_wait" || s.Call == "epoll_pwait") && s.Target.Listener
		}},
	} {
		found := false
		for _, thread := range p.Threads {
			if thread.TID == want.tid && len(thread.Sights) > 0 {
				found = want.is(thread.Sights[0]) && thread.Sights[0].State == "S"
				if !found {
					t.Errorf("thread %s %s, but was seen in %+v", strconv.Itoa(want.tid), want.what, thread.Sights)
				}
			}
		}
		if !found {
			t.Errorf("the thread that %s was not seen so", want.what)
		}
	}
}

// A server with two listeners waits at one of them, and clients at the other.
func TestAThreadAtAnotherListenerIsSeenThere(t *testing.T) {
	_, l := listening(t)
	other, at := listening(t)
	client, err := net.Dial("tcp", l.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepting := blockedIn(t, func() {
		again(func() error {
			_, _, err := unix.Accept(other)
			return err
		})
	})
	polling := blockedIn(t, func() {
		again(func() error {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(other), Events: unix.POLLIN}}, -1)
			return err
		})
	})
	defer func() { // lets both end
		for range 2 {
			if another, err := net.Dial("tcp", at.Address.String()); err == nil {
				another.Close()
			}
		}
	}()
	e := Run(t.Context(), l, holders(t, l.Inode), Options{Span: 300 * time.Millisecond})
	if len(e.Processes) != 1 {
		t.Fatalf("the processes are %+v, want this one", e.Processes)
	}
	want := diagnose.Target{Kind: diagnose.KindTCP, FD: other, Local: at.Address.String(), Listening: true}
	for what, tid := range map[string]int{"accept()": accepting, "poll()": polling} {
		at := slices.IndexFunc(e.Processes[0].Threads, func(thread diagnose.Thread) bool { return thread.TID == tid })
		if at < 0 {
			t.Errorf("the thread in %s was not seen", what)
			continue
		}
		if sights := e.Processes[0].Threads[at].Sights; len(sights) == 0 || sights[0].Target != want {
			t.Errorf("the thread in %s was seen in %+v, want %+v", what, sights, want)
		}
	}
}

// again makes a call until no signal interrupts it.
func again(call func() error) {
	for errors.Is(call(), unix.EINTR) {
	}
}

func TestWhatWasSeenIsToldWhenTheSpanEndsEarly(t *testing.T) {
	_, l := listening(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := Run(ctx, l, holders(t, l.Inode), Options{Span: time.Hour})
	if e.Looks != 2 || len(e.Processes) != 1 || e.Queue.Depth.IsZero() {
		t.Errorf("%d looks at %+v, queue %+v", e.Looks, e.Processes, e.Queue)
	}
}

// What is read of the processes after the span can take long, and is no part of
// it: a part of the span on a CPU would look smaller.
func TestSpanEndsWithTheLastLook(t *testing.T) {
	_, l := listening(t)
	proc := t.TempDir()
	if err := os.MkdirAll(proc+"/7/task/7", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{proc + "/7", proc + "/7/task/7"} {
		if err := os.WriteFile(dir+"/stat", []byte("7 (app) S "+strings.Repeat("1 ", 50)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	limits := proc + "/7/limits" // read after the span
	if err := unix.Mkfifo(limits, 0o644); err != nil {
		t.Fatal(err)
	}
	read := make(chan int64, 1)
	go func() {
		w, err := os.OpenFile(limits, os.O_WRONLY, 0) // when somebody reads
		if err != nil {
			t.Error(err)
		}
		read <- monotonic()
		w.Close()
	}()
	begun := monotonic()
	opt := Options{Span: 10 * time.Millisecond}
	opt.setDefaults()
	e := newCollector(t.Context(), l, opt, procFS(proc), cgroupFS(proc)).run(t.Context(), []owner.Process{{PID: 7, StartTime: 1}})
	at := <-read
	if len(e.Processes) != 1 || e.Time > at || int64(e.Span) > at-begun {
		t.Errorf("the span ends at %d, after %s; what follows it began at %d, after %s: %+v", e.Time, e.Span, at, time.Duration(at-begun), e.Processes)
	}
}

func TestThreadThatHasExitedIsNotEvidence(t *testing.T) {
	p := processLooks{pid: 7, count: 1, threads: map[int]*threadLooks{7: {look: 5}, 8: {look: 4}}}
	if got := p.finish(5); len(got.Threads) != 1 || got.Threads[0].TID != 7 {
		t.Errorf("got %+v, want thread 7 alone", got.Threads)
	}
}

func TestProcessesThatAreTooManyAreCounted(t *testing.T) {
	_, l := listening(t)
	all := holders(t, l.Inode)
	e := Run(t.Context(), l, append(all, all[0], all[0]), Options{Span: 50 * time.Millisecond, MaxProcesses: 1})
	if e.Unseen != 2 {
		t.Errorf("%d processes were not looked at, want 2", e.Unseen)
	}
}

// TestLimitsAreKeptAndTold looks at no more threads than it may.
func TestLimitsAreKeptAndTold(t *testing.T) {
	_, l := listening(t)
	e := Run(context.Background(), l, holders(t, l.Inode), Options{Span: 100 * time.Millisecond, MaxThreads: 1})
	if len(e.Processes) != 1 || len(e.Processes[0].Threads) != 1 || e.Processes[0].ThreadCount < 2 || len(e.Blind) == 0 {
		t.Errorf("got %+v, and not seen: %v", e.Processes, e.Blind)
	}
}

// TestAProcessThatIsGoneIsNotEvidence: the number may be another's.
func TestAProcessThatIsGoneIsNotEvidence(t *testing.T) {
	_, l := listening(t)
	all := holders(t, l.Inode)
	all[0].StartTime++ // as if it had ended, and another one had its number
	e := Run(context.Background(), l, all, Options{Span: 100 * time.Millisecond})
	if len(e.Processes) != 0 {
		t.Errorf("another process is told of: %+v", e.Processes)
	}
}
