//go:build kernel

package kerneltest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// The table of capabilities, proved: with exactly these, as a user who is nobody
// else, everything is seen; without one, what the table says is not, and that is
// said. CAP_SYS_ADMIN is as good as CAP_BPF and CAP_PERFMON, so those two are
// proved without it.

const (
	nobody   = 65534 // who watches
	somebody = 1000  // whose servers these are
)

// as makes a program another user's, with these capabilities and no others.
func as(cmd *exec.Cmd, uid uint32, caps capability.Set) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	for bit := range 64 {
		if caps.Has(bit) {
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(bit))
		}
	}
	return cmd
}

// unlockMemory is LimitMEMLOCK=infinity of a unit, for the programs that a test
// starts.
func unlockMemory(t *testing.T) {
	t.Helper()
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	check(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all))
}

// inside runs fn on a thread in a namespace of its own, which prepare has set up,
// and which lives as long as what fn starts.
func inside(t *testing.T, namespace int, prepare func() error, fn func()) {
	t.Helper()
	check(t, onNewThread(func() error {
		if err := unix.Unshare(namespace); err != nil {
			return err
		}
		if err := prepare(); err != nil {
			return err
		}
		fn()
		return nil
	}))
}

// onNewThread runs fn on a thread that is thrown away afterwards. The first thread of
// a process cannot end, and /proc/self is it: another one is taken.
func onNewThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Hold the first thread while another one is locked.
			defer runtime.UnlockOSThread()
			done <- onNewThread(fn)
			return
		}
		done <- fn()
	}()
	return <-done
}

func loopbackUp() error { return exec.Command("ip", "link", "set", "lo", "up").Run() }

// servers are a netcat each of somebody, here and in another network namespace:
// each has accepted one client, and accepts no more.
type servers struct {
	here, away *process
	at, awayAt string
}

func startServers(t *testing.T) *servers {
	t.Helper()
	s := &servers{at: unusedAddress(t), awayAt: "127.0.0.1:7000"}
	listen := func(at string) *process {
		host, port, _ := strings.Cut(at, ":")
		return startCommand(t, as(exec.Command("nc", "-l", host, port), somebody, 0))
	}
	s.here = listen(s.at)
	await(t, "the listener", func() bool { return listening(ss(t), s.at) != nil })
	inside(t, unix.CLONE_NEWNET, loopbackUp, func() { s.away = listen(s.awayAt) })
	await(t, "the listener in the other namespace", func() bool {
		return bytes.Contains(s.connections(t), []byte(" 0A ")) // LISTEN
	})
	return s
}

// connections is /proc/net/tcp of the other namespace.
func (s *servers) connections(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", s.away.pid()))
	check(t, err)
	return text
}

// status is a line of /proc/PID/status.
func status(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("process %d has no %s", pid, name)
	return ""
}

func TestTheCapabilitiesOfTheTableSuffice(t *testing.T) {
	unlockMemory(t)
	everyMode(t, func(t *testing.T, mode string) {
		s := startServers(t)
		first := connect(t, "127.0.1.1", s.at)
		first.awaitServed(s.at)
		caps := capability.Bits(capability.Watching())
		ports := portOf(t, s.at) + "," + portOf(t, s.awayAt)
		text := trace{startCommand(t, as(acceptwatch(t, "trace", "--mode", mode, "--port", ports), nobody, caps))}
		text.awaitLine("TIME ")
		tr := trace{startCommand(t, as(acceptwatch(t, "trace", "--mode", mode, "-o", "json", "--port", ports), nobody, caps))}
		tr.await("the listeners", func() bool { return len(tr.lines()) >= 2 })

		second := connect(t, "127.0.1.2", s.at)
		second.interrupt(s.at)
		wantOneCloseWait(t, tr, s.at, second)
		permitted, err := strconv.ParseUint(status(t, text.pid(), "CapPrm"), 16, 64)
		check(t, err)
		if uid := strings.Fields(status(t, text.pid(), "Uid"))[0]; capability.Set(permitted) != caps || uid != strconv.Itoa(nobody) {
			t.Errorf("watched by user %s with %x; want %d with %x", uid, permitted, nobody, caps)
		}
		for name, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2"} {
			if got := status(t, text.pid(), name); got != want {
				t.Errorf("%s of the fenced process is %s, want %s", name, got, want)
			}
		}
		tr.stop()
		text.stop()
		for at, server := range map[string]*process{s.at: s.here, s.awayAt: s.away} {
			if last := tr.last(at); len(last.Owners) != 1 || last.Owners[0].PID != server.pid() {
				t.Errorf("the owners of %s are %v; want %d", at, last.Owners, server.pid())
			}
		}
		if n := text.count("is missing"); n > 0 || len(text.stderr()) > 0 {
			t.Errorf("something is missing, or warned of: %s", text.everything())
		}
	})
}

func TestWithoutOneCapability(t *testing.T) {
	unlockMemory(t)
	everyMode(t, func(t *testing.T, mode string) {
		s := startServers(t)
		first := connect(t, "127.0.1.1", s.at)
		first.awaitServed(s.at)
		second := connect(t, "127.0.1.2", s.at)
		all := capability.Bits(capability.Watching())
		for _, c := range capability.Watching() {
			t.Run(c.Name, func(t *testing.T) {
				left := all &^ capability.Of(c.Bit)
				if c.Required() {
					left &^= capability.Of(unix.CAP_SYS_ADMIN)
				}
				cmd := as(acceptwatch(t, "trace", "--mode", mode, "--port", portOf(t, s.at)+","+portOf(t, s.awayAt)), nobody, left)
				tr := trace{startCommand(t, cmd)}
				switch {
				case c.Required():
					wantRefusal(t, tr, "eBPF needs "+c.Name+", which this process does not have")
				case c.Bit == unix.CAP_SYS_ADMIN && mode == "kprobe" && paranoid(t):
					wantRefusal(t, tr, "which asks for CAP_SYS_ADMIN")
				default:
					tr.awaitLine("TIME ")
					tr.awaitLine(c.Name + " is missing: " + c.Without)
					tr.stop()
					wantLess(t, tr, s, c.Bit)
				}
			})
		}
		second.signal(syscall.SIGINT)
	})
}

// wantRefusal checks that it ends with one line.
func wantRefusal(t *testing.T, tr trace, why string) {
	t.Helper()
	tr.wantExit(3)
	if errs := tr.stderr(); len(errs) != 1 || !strings.Contains(errs[0], why) {
		t.Errorf("stderr %q; want one line with %q", errs, why)
	}
}

// wantLess checks that what is not seen is what the table says, and nothing else.
func wantLess(t *testing.T, tr trace, s *servers, missing int) {
	t.Helper()
	head := strings.Join(tr.lines(), "\n")
	head, _, _ = strings.Cut(head, "\nTIME ")
	heldHere := fmt.Sprintf("held by nc[%d]", s.here.pid())
	heldAway := fmt.Sprintf("held by nc[%d]", s.away.pid())
	if !strings.Contains(head, s.at+"  1 of ") {
		t.Errorf("the queue is not there: %s", head)
	}
	if named := missing == unix.CAP_SYS_ADMIN; strings.Contains(head, heldHere) != named {
		t.Errorf("that the owner is named ought to be %v: %s", named, head)
	}
	// With CAP_SYS_PTRACE missing the namespace may be found by a mount, which it
	// has none of.
	if seen := missing == unix.CAP_DAC_READ_SEARCH; strings.Contains(head, s.awayAt) != seen || strings.Contains(head, heldAway) {
		t.Errorf("that %s is listed ought to be %v, without an owner: %s", s.awayAt, seen, head)
	}
}

// paranoid says that this kernel wants CAP_SYS_ADMIN for kprobes.
func paranoid(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	check(t, err)
	level, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(t, err)
	return level > 2
}

// What is not walked is counted all the same: the table says so of CAP_SYS_ADMIN.
func TestWithoutSysAdminOtherNamespacesAreCounted(t *testing.T) {
	unlockMemory(t)
	everyMode(t, func(t *testing.T, mode string) {
		if mode != "fentry" {
			t.Skip("kprobes may need it themselves, and mode restricted sees accepts by walking")
		}
		s := &servers{awayAt: "127.0.0.1:7000"}
		inside(t, unix.CLONE_NEWNET, loopbackUp, func() {
			s.away = startCommand(t, as(exec.Command("nc", "-l", "127.0.0.1", "7000"), somebody, 0))
		})
		await(t, "the listener", func() bool { return bytes.Contains(s.connections(t), []byte(" 0A ")) })
		caps := capability.Bits(capability.Watching()) &^ capability.Of(unix.CAP_SYS_ADMIN)
		tr := trace{startCommand(t, as(acceptwatch(t, "trace", "--mode", mode, "--port", "7000"), nobody, caps))}
		tr.awaitLine("TIME ")
		c := startCommand(t, exec.Command("nsenter", "-t", strconv.Itoa(s.away.pid()), "-n", "nc", "127.0.0.1", "7000"))
		tr.awaitLine(" accepted ")
		c.signal(syscall.SIGINT)
		tr.stop()
		if section := tr.section(s.awayAt); !strings.Contains(section, "1 accepted") {
			t.Errorf("want 1 accepted in\n%s", section)
		}
	})
}
