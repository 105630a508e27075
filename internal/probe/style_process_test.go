package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Listeners that several processes hold, or another one than made them.

// How a process that a test starts comes by its listener: it is descriptor 3,
// or comes as a message over the socket that descriptor 3 is.
const (
	inherited = "inherited"
	passed    = "passed"
)

// acceptingProcess accepts in two threads.
type acceptingProcess struct {
	*exec.Cmd
	said sync.WaitGroup // all that it says is in the ledger
}

const threadsOfProcess = 2

func startAcceptor(t *testing.T, l *ledger, comm, how string, third *os.File) *acceptingProcess {
	t.Helper()
	ours, theirs, err := os.Pipe()
	check(t, err)
	p := &acceptingProcess{Cmd: exec.Command("/proc/self/exe", "-test.run=^TestAcceptingProcess$")}
	p.Env = append(os.Environ(), "ACCEPTWATCH_TEST_ACCEPTOR="+how, "ACCEPTWATCH_TEST_COMM="+comm)
	p.ExtraFiles = []*os.File{third, theirs}
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, p.Start())
	check(t, theirs.Close())
	p.said.Go(func() {
		defer ours.Close()
		for from := json.NewDecoder(ours); ; {
			var one taking
			if err := from.Decode(&one); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("read what process %s says: %v", comm, err)
				}
				return
			}
			l.add(one)
		}
	})
	t.Cleanup(p.stop)
	return p
}

func (p *acceptingProcess) stop() {
	p.Process.Kill()
	p.Wait()
	p.said.Wait()
}

// TestAcceptingProcess is the body of processes that other tests start: it
// tells on descriptor 4 what it accepts, until the listener is shut down.
func TestAcceptingProcess(t *testing.T) {
	how := os.Getenv("ACCEPTWATCH_TEST_ACCEPTOR")
	if how == "" {
		return
	}
	fd := 3
	if how == passed {
		fd = receiveDescriptor(t, fd)
	}
	var mu sync.Mutex
	to := json.NewEncoder(os.NewFile(4, "what was accepted"))
	var running sync.WaitGroup
	for i := range threadsOfProcess {
		running.Go(func() {
			named(fmt.Sprintf("%s-%d", os.Getenv("ACCEPTWATCH_TEST_COMM"), i), func() {
				for {
					before := monotonic()
					conn, err := acceptCall(fd)
					if err == unix.EINTR {
						continue
					}
					if err != nil {
						return
					}
					one, err := served(conn, before)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					err = to.Encode(one)
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
	running.Wait()
}

func receiveDescriptor(t *testing.T, from int) int {
	t.Helper()
	control := make([]byte, unix.CmsgSpace(4))
	var text [1]byte
	_, n, _, _, err := unix.Recvmsg(from, text[:], control, unix.MSG_CMSG_CLOEXEC)
	check(t, err)
	messages := must(unix.ParseSocketControlMessage(control[:n]))(t)
	if len(messages) != 1 {
		t.Fatalf("%d control messages", len(messages))
	}
	return must(unix.ParseUnixRights(&messages[0]))(t)[0]
}

// file is a descriptor for another process of what this one keeps.
func file(t *testing.T, fd int, name string) *os.File {
	t.Helper()
	f := os.NewFile(uintptr(must(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))(t)), name)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestProcessesOnOneInheritedListener(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const processes, clients, each = 3, 6, 25
		s := listen(t, "127.0.0.1:0", 128)
		l := newLedger(t)
		var all []*acceptingProcess
		for i := range processes {
			all = append(all, startAcceptor(t, l, fmt.Sprintf("worker%d", i), inherited, file(t, s.fd, "listener")))
		}
		for _, p := range all {
			waitBlocked(t, p.Process.Pid, threadsOfProcess)
		}
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		l.connect(s.addr, clients, each)
		l.wait(clients * each)
		events := readUntil(t, tr, has(clients*each, s.addr, event.Accepted))
		events = append(events, readAll(t, tr, 150*time.Millisecond)...)
		l.check(tr, s.addr, events)
		checkCounts(t, tr, s.addr, clients*each)
		pids := map[uint32]bool{}
		for _, e := range only(events, s.addr, event.Accepted) {
			pids[e.PID] = true
		}
		if len(pids) != processes || pids[uint32(os.Getpid())] {
			t.Errorf("%d processes accept, reported %v", processes, pids)
		}
	}, Fentry, Kprobe)
}

func TestListenerPassedToAnotherProcess(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const clients, each = 2, 10
		s := listen(t, "127.0.0.1:0", 128)
		l := newLedger(t)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
		defer unix.Close(pair[0])
		theirs := os.NewFile(uintptr(pair[1]), "socket")
		p := startAcceptor(t, l, "receiver", passed, theirs)
		check(t, theirs.Close())
		check(t, unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(s.fd), nil, 0))
		waitBlocked(t, p.Process.Pid, threadsOfProcess)
		s.close()
		l.connect(s.addr, clients, each)
		l.wait(clients * each)
		events := readUntil(t, tr, has(clients*each, s.addr, event.Accepted))
		l.check(tr, s.addr, events)
		checkCounts(t, tr, s.addr, clients*each)
		for _, e := range only(events, s.addr, event.Accepted) {
			if e.PID != uint32(p.Process.Pid) {
				t.Errorf("process %d accepts: %s", p.Process.Pid, describe([]event.Event{e}))
			}
		}
		// The listener is that process's alone, and ends with it.
		p.stop()
		readUntil(t, tr, has(1, s.addr, event.ListenerClosed))
	}, Fentry, Kprobe)
}
