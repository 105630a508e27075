package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// The fence is for good, so a child puts it up: this test program, which then
// tells what it can do.

const childVariable = "ACCEPTWATCH_TEST_FENCE"

// report is what the child says.
type report struct {
	Before, Kept []string // permitted capabilities of each thread, distinct
	NoNewPrivs   []string // of each thread, distinct
	Threads      int
	Can          map[string]string // what was tried, and "yes" or the error
	Unfenced     string            // the error of Set
}

func TestMain(m *testing.M) {
	text := os.Getenv(childVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var later Later
	if err := json.Unmarshal([]byte(text), &later); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(child(later, os.Args[1])); err != nil {
		os.Exit(1)
	}
}

func child(later Later, dir string) report {
	stop := severalThreads()
	defer stop()
	open, err := os.Create(filepath.Join(dir, "open"))
	if err != nil {
		return report{Unfenced: err.Error()}
	}
	r := report{Before: ofThreads("CapPrm"), Can: make(map[string]string)}
	if err := Set(later); err != nil {
		r.Unfenced = err.Error()
	}
	r.Kept, r.NoNewPrivs = ofThreads("CapPrm"), ofThreads("NoNewPrivs")
	tasks, _ := os.ReadDir("/proc/self/task")
	r.Threads = len(tasks)
	for name, try := range map[string]func() error{
		"write an open file":  func() error { _, err := open.WriteString("x"); return err },
		"sync an open file":   open.Sync,
		"read a file":         func() error { _, err := os.ReadFile("/proc/self/maps"); return err },
		"read a link":         func() error { _, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", os.Getppid())); return err },
		"listen":              func() error { l, err := net.Listen("tcp4", "127.0.0.1:0"); return errors.Join(err, closed(l)) },
		"make a file":         func() error { return os.WriteFile(filepath.Join(dir, "made"), nil, 0o600) },
		"write to a file":     func() error { f, err := os.OpenFile(open.Name(), os.O_WRONLY, 0); return errors.Join(err, f.Close()) },
		"rename a file":       func() error { return os.Rename(open.Name(), open.Name()+".1") },
		"remove a file":       func() error { return os.Remove(open.Name() + ".1") },
		"make a directory":    func() error { return os.Mkdir(filepath.Join(dir, "d"), 0o700) },
		"change a mode":       func() error { return os.Chmod(dir, 0o700) },
		"run a program":       func() error { return exec.Command("/proc/self/exe", dir).Run() },
		"trace a process":     func() error { return unix.PtraceSeize(os.Getppid()) },
		"mount":               func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		"leave its namespace": func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		"set the clock":       func() error { return unix.Settimeofday(&unix.Timeval{Sec: -1}) },
		"open by io_uring":    func() error { return errnoOf(unix.SYS_IO_URING_SETUP) },
		"open by openat2":     func() error { return errnoOf(unix.SYS_OPENAT2) },

		"take a file of another process": func() error { return takeInput(os.Getppid()) },
		"advise another process":         func() error { return errnoOf(unix.SYS_PROCESS_MADVISE) },
		"pick a mount":                   func() error { return errnoOf(unix.SYS_FSPICK) },
		"configure a mount":              func() error { return errnoOf(unix.SYS_FSCONFIG) },
		"open a tree":                    func() error { return errnoOf(unix.SYS_OPEN_TREE_ATTR) },
		"change a mode by fchmodat2":     func() error { return errnoOf(unix.SYS_FCHMODAT2) },
		"set an attribute":               func() error { return errnoOf(unix.SYS_SETXATTRAT) },
		"remove an attribute":            func() error { return errnoOf(unix.SYS_REMOVEXATTRAT) },
		"set attributes of a file":       func() error { return errnoOf(unix.SYS_FILE_SETATTR) },
	} {
		r.Can[name] = "yes"
		if err := try(); err != nil {
			var errno unix.Errno
			if r.Can[name] = err.Error(); errors.As(err, &errno) {
				r.Can[name] = unix.ErrnoName(errno)
			}
		}
	}
	return r
}

func closed(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// takeInput opens the standard input of another process.
func takeInput(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(process)
	input, err := unix.PidfdGetfd(process, 0, 0)
	if err != nil {
		return err
	}
	return unix.Close(input)
}

func errnoOf(number uintptr) error {
	_, _, errno := unix.Syscall6(number, 0, 0, 0, 0, 0, 0)
	return errno
}

// severalThreads keeps some threads in a system call.
func severalThreads() (stop func()) {
	var held sync.WaitGroup
	r, w, err := os.Pipe()
	if err != nil {
		return func() {}
	}
	fd := int(r.Fd()) // blocking
	for range 4 {
		held.Go(func() { _, _ = unix.Read(fd, make([]byte, 1)) })
	}
	return func() { w.Close(); held.Wait(); r.Close() }
}

// ofThreads is a line of all threads' status, each value once.
func ofThreads(name string) []string {
	var values []string
	files, _ := filepath.Glob("/proc/self/task/*/status")
	seen := make(map[string]bool)
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":\t")
			if ok && !seen[value] {
				seen[value] = true
				values = append(values, value)
			}
		}
	}
	return values
}

// fenced runs the child.
func fenced(t *testing.T, later Later) report {
	t.Helper()
	text, err := json.Marshal(later)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", t.TempDir())
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Unfenced != "" {
		t.Fatal(r.Unfenced)
	}
	if r.Threads < 5 {
		t.Errorf("%d threads, want some", r.Threads)
	}
	return r
}

func TestFencedProcessReadsAndWritesNothingElse(t *testing.T) {
	const no = "EPERM"
	always := map[string]string{
		"write an open file": "yes", "sync an open file": "yes", "read a file": "yes", "read a link": "yes", "listen": "yes",
		"run a program": no, "trace a process": no, "mount": no, "leave its namespace": no, "set the clock": no,
		"open by io_uring":               no,
		"take a file of another process": no, "advise another process": no, "pick a mount": no, "configure a mount": no, "open a tree": no,
	}
	for _, c := range []struct {
		name    string
		later   Later
		changes string // of files
		openat2 string
	}{
		{"nothing more to write", Later{}, no, no},
		{"files later", Later{Files: true}, "", ""},
		{"stacks later", Later{Stacks: true}, no, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := fenced(t, c.later).Can
			for what, answer := range got {
				want, ok := always[what]
				switch {
				case what == "open by openat2":
					want = c.openat2
				case !ok:
					want = c.changes
				}
				// Some need others before them, in an order that is left to chance.
				if want == "" && answer != no || want == answer {
					continue
				}
				t.Errorf("%s: %s, want %s", what, answer, want)
			}
		})
	}
}

func TestFenceLeavesTheCapabilitiesOfTheTable(t *testing.T) {
	for _, c := range []struct {
		later Later
		more  capability.Set
	}{
		{Later{}, 0},
		{Later{Files: true}, capability.Of(unix.CAP_DAC_OVERRIDE)},
		{Later{Stacks: true}, capability.Of(unix.CAP_SYSLOG)},
		{Later{Signal: true}, capability.Of(unix.CAP_KILL)},
	} {
		r := fenced(t, c.later)
		if len(r.Before) != 1 {
			t.Fatalf("before, threads have %q", r.Before)
		}
		before, err := strconv.ParseUint(r.Before[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		left := capability.Set(before) & (capability.Bits(capability.Watching()) | c.more)
		if diff := cmp.Diff([]string{fmt.Sprintf("%016x", uint64(left))}, r.Kept); diff != "" {
			t.Errorf("%+v: permitted to the threads (-want +got):\n%s", c.later, diff)
		}
		if diff := cmp.Diff([]string{"1"}, r.NoNewPrivs); diff != "" {
			t.Errorf("%+v: no_new_privs of the threads (-want +got):\n%s", c.later, diff)
		}
	}
}
