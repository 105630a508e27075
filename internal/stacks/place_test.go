package stacks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The programs that are watched: testdata/place.c, and this test's own binary,
// which is a Go program.

// buildEnv names the directory where place.c is compiled already, as framed and
// frameless: guests have no compiler.
const buildEnv = "ACCEPTWATCH_PLACES"

// place compiles testdata/place.c with or without frame pointers.
func place(t *testing.T, framed bool) string {
	t.Helper()
	name, flags := "frameless", []string{"-O1"}
	if framed {
		// At -O0, as others leave out those of functions that call nothing; on arm64
		// only the last flag keeps them.
		name, flags = "framed", []string{"-O0", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"}
	}
	if dir := os.Getenv(buildEnv); dir != "" {
		return filepath.Join(dir, name)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		if demanded() {
			t.Fatalf("stacks must work, and testing them needs gcc, or compiled programs in the directory $%s", buildEnv)
		}
		t.Skip("needs gcc")
	}
	binary := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("gcc", append(flags, "-static", "-o", binary, "testdata/place.c")...).CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return binary
}

// program runs until the test ends.
type program struct {
	t   *testing.T
	pid int
	in  *os.File
	out *bufio.Reader
}

// run starts a program and waits for its first line.
func run(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	in := must(cmd.StdinPipe())(t)
	out := must(cmd.StdoutPipe())(t)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p := &program{t: t, pid: cmd.Process.Pid, in: in.(*os.File), out: bufio.NewReader(out)}
	p.line()
	return p
}

func (p *program) line() string {
	p.t.Helper()
	return strings.TrimSpace(must(p.out.ReadString('\n'))(p.t))
}

// runPlace starts place.c, and waits until it is where it was sent.
func runPlace(t *testing.T, framed bool, where string) *program {
	t.Helper()
	p := run(t, exec.Command(place(t, framed), where))
	if where == "busy" || where == "nap" {
		return p
	}
	waitFor(t, "the program to sleep", func() bool {
		stat, err := os.ReadFile(taskPath(p.pid, p.pid, "stat"))
		_, _, inCall := parseSyscall(must(os.ReadFile(taskPath(p.pid, p.pid, "syscall")))(t))
		return err == nil && parseStat(stat) == Sleeping && inCall
	})
	return p
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timed out waiting for ", what)
		}
	}
}

// asGo makes this binary the Go program that is watched.
const asGo = "STACKS_TEST_GO_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asGo) != "" {
		goProgram()
		return
	}
	code := m.Run()
	if code == 0 {
		if left := leftOpen(); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "FAIL: left open:", left)
			code = 1
		}
	}
	os.Exit(code)
}

// goProgram spins on a new thread once a line is read.
func goProgram() {
	runtime.LockOSThread()
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	go func() {
		runtime.LockOSThread()
		spinInGo()
	}()
	// Ends with its parent.
	_, _ = in.ReadString('\n')
}

var turns, never int

//go:noinline
func spinInGo() {
	for never == 0 {
		turns++
	}
}

// leftOpen names descriptors of programs, maps, events and processes.
func leftOpen() []string {
	var left []string
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		for _, kind := range []string{"bpf", "perf_event", "pidfd"} {
			if strings.HasPrefix(name, "anon_inode:") && strings.Contains(name, kind) {
				left = append(left, name)
			}
		}
	}
	return left
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
