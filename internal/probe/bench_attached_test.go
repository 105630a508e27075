//go:build kernelbench

package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attachment is a tracer in place.
type attachment interface {
	stop() error // its process stands still; the programs go on
	cont() error
	settle() error            // returns when its process has come to rest
	cpu() (ns int64, _ error) // used by its process so far
	// end takes it away, and returns how to count what it reported of a port.
	end() (func(port uint16) int, error)
}

// put attaches the peer, and returns when it has come to rest.
func (p *peer) put(t *testing.T) (attachment, error) {
	t.Helper()
	if p.attach != nil {
		return p.attach()
	}
	a := &process{count: p.count, output: filepath.Join(t.TempDir(), "output")}
	out, err := os.Create(a.output)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	a.cmd = exec.Command(p.argv[0], p.argv[1:]...)
	a.cmd.Stdout, a.cmd.Stderr = out, out
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	a.done = make(chan error, 1)
	go func() { a.done <- a.cmd.Wait() }()
	if err := a.settle(); err != nil {
		return nil, errors.Join(err, a.kill())
	}
	return a, nil
}

// process is a tracer of its own process.
type process struct {
	cmd    *exec.Cmd
	output string // file
	count  func(output string, port uint16) int
	done   chan error
}

// stop waits, as threads stop where they are scheduled next.
func (p *process) stop() error {
	defer time.Sleep(20 * time.Millisecond)
	return p.cmd.Process.Signal(unix.SIGSTOP)
}

func (p *process) cont() error { return p.cmd.Process.Signal(unix.SIGCONT) }

func (p *process) kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

const (
	// What has come to rest uses a processor for less than restCPU of restTime: what
	// programs do from time to time takes less (most is mode restricted's sampling,
	// 10 times a second), and a start more.
	restTime = 2 * time.Second
	restCPU  = restTime / 4
	// patience bounds a start and an end: bpftrace compiles, and detaching waits for
	// the kernel, which both take a while under emulation.
	patience = 5 * time.Minute
)

func (p *process) settle() error {
	before, err := p.cpu()
	if err != nil {
		return p.ended(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case err := <-p.done:
			p.done <- err
			return p.ended(err)
		case <-time.After(restTime):
		}
		now, err := p.cpu()
		if err != nil {
			return p.ended(err)
		}
		if now-before < int64(restCPU) {
			return nil
		}
		before = now
	}
	return fmt.Errorf("it did not come to rest within %v", patience)
}

// ended says how a tracer ended that should not have, in its own words.
func (p *process) ended(err error) error {
	output, readErr := os.ReadFile(p.output)
	if readErr != nil {
		return readErr
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return fmt.Errorf("it ended: %v: %s", err, lines[len(lines)-1])
}

// cpu reads the process's own clock (CPUCLOCK_SCHED, include/linux/posix-timers.h).
func (p *process) cpu() (int64, error) {
	var used unix.Timespec
	err := unix.ClockGettime(int32(^p.cmd.Process.Pid)<<3|2, &used)
	return used.Nano(), err
}

// end asks it to end as Ctrl-C does.
func (p *process) end() (func(uint16) int, error) {
	if err := p.cmd.Process.Signal(unix.SIGINT); err != nil {
		return nil, p.ended(err)
	}
	select {
	case <-p.done: // with whatever code: its output tells
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("it did not end within %v of SIGINT", patience), p.kill())
	}
	output, err := os.ReadFile(p.output)
	if err != nil {
		return nil, err
	}
	return func(port uint16) int { return p.count(string(output), port) }, nil
}

// exporter are the programs of exporter_test.bpf.c, which nobody reads while they
// are measured.
type exporter struct {
	coll  *ebpf.Collection
	links []link.Link
}

func attachExporter() (attachment, error) {
	spec, err := loadExporter()
	if err != nil {
		return nil, err
	}
	e := &exporter{}
	if e.coll, err = ebpf.NewCollection(spec); err != nil {
		return nil, err
	}
	queued, err := link.Kprobe("inet_csk_complete_hashdance", e.coll.Programs["exporter_queued"], nil)
	if err != nil {
		e.coll.Close()
		return nil, err
	}
	accepted, err := link.Kretprobe("inet_csk_accept", e.coll.Programs["exporter_accepted"], nil)
	if err != nil {
		e.coll.Close()
		return nil, errors.Join(err, queued.Close())
	}
	e.links = []link.Link{queued, accepted}
	return e, nil
}

func (e *exporter) stop() error         { return nil }
func (e *exporter) cont() error         { return nil }
func (e *exporter) settle() error       { return nil }
func (e *exporter) cpu() (int64, error) { return 0, nil }

func (e *exporter) end() (func(uint16) int, error) {
	var errs []error
	for _, l := range e.links {
		errs = append(errs, l.Close())
	}
	of := map[uint16]int{}
	var (
		bucket exporterWaitBucket
		count  uint64
	)
	all := e.coll.Maps["waits"].Iterate()
	for all.Next(&bucket, &count) {
		of[bucket.Port] += int(count)
	}
	errs = append(errs, all.Err())
	e.coll.Close()
	return func(port uint16) int { return of[port] }, errors.Join(errs...)
}
