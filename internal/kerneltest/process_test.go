//go:build kernel

package kerneltest

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that was started by a test and does not outlive it.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu         sync.Mutex
	out, errs  []string // lines
	read, done sync.WaitGroup
	exited     bool
}

// start runs a program. Its standard input stays open.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(program, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	stdin, err := cmd.StdinPipe()
	check(t, err)
	p.stdin = stdin
	if cmd.Stdout == nil {
		out, err := cmd.StdoutPipe()
		check(t, err)
		p.read.Go(func() { p.collect(out, &p.out) })
	}
	errs, err := cmd.StderrPipe()
	check(t, err)
	p.read.Go(func() { p.collect(errs, &p.errs) })
	check(t, cmd.Start())
	p.done.Go(func() {
		p.read.Wait()
		_ = cmd.Wait() // its exit is asked for by exit
		p.mu.Lock()
		p.exited = true
		p.mu.Unlock()
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		p.done.Wait()
		if t.Failed() {
			t.Logf("%s\n%s", strings.Join(cmd.Args, " "), p.everything())
		}
	})
	return p
}

func (p *process) collect(from io.Reader, to *[]string) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		*to = append(*to, lines.Text())
		p.mu.Unlock()
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// comm is its name as the kernel has it.
func (p *process) comm() string {
	p.t.Helper()
	name, err := os.ReadFile("/proc/" + itoa(p.pid()) + "/comm")
	check(p.t, err)
	return strings.TrimSpace(string(name))
}

// lines is its standard output so far.
func (p *process) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out[:len(p.out):len(p.out)]
}

// stderr is its standard error so far.
func (p *process) stderr() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errs[:len(p.errs):len(p.errs)]
}

func (p *process) everything() string {
	text := strings.Join(p.lines(), "\n")
	if errs := p.stderr(); len(errs) > 0 {
		text += "\nstderr:\n" + strings.Join(errs, "\n")
	}
	return text
}

func (p *process) hasExited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// await polls its output until the condition holds.
func (p *process) await(what string, condition func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		ended := p.hasExited()
		switch {
		case condition():
			return
		case ended:
			p.t.Fatalf("%s: %s ended without", what, p.cmd.Args[0])
		case time.Now().After(deadline):
			p.t.Fatalf("%s: %s did not within %v", what, p.cmd.Args[0], patience)
		}
	}
}

// awaitLine polls until its standard output has a line with the text, and
// returns that line.
func (p *process) awaitLine(text string) string {
	p.t.Helper()
	var found string
	p.await("a line with "+text, func() bool {
		for _, line := range p.lines() {
			if strings.Contains(line, text) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	check(p.t, p.cmd.Process.Signal(s))
}

// say writes a line to its standard input.
func (p *process) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	check(p.t, err)
}

// exit waits for its end; the code is 128 + the signal when one ended it.
func (p *process) exit() int {
	p.t.Helper()
	p.await("the end", p.hasExited)
	state := p.cmd.ProcessState
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		p.t.Fatal(errors.New("no wait status"))
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// wantExit waits for its end and checks the code.
func (p *process) wantExit(want int) {
	p.t.Helper()
	if code := p.exit(); code != want {
		p.t.Errorf("exit code %d, want %d", code, want)
	}
}
