package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"acceptwatch/internal/vm/qemu"
	"acceptwatch/internal/vm/wire"
)

// attend talks to the init of a machine until the command has ended.
func (r *Run) attend(ctx context.Context, machine *qemu.Machine, silence time.Duration) (*Result, error) {
	release := context.AfterFunc(ctx, func() { machine.Channel.Close() })
	defer release()
	frames, guest := wire.NewReader(machine.Channel), wire.NewWriter(machine.Channel)

	begin := time.Now()
	hello, err := awaitInit(frames, machine, silence)
	if err != nil {
		return nil, err
	}
	result := &Result{Boot: time.Since(begin), Release: hello.Release, Files: map[string][]byte{}}
	if err := guest.WriteJSON(wire.Start, r.job()); err != nil {
		return nil, &CrashError{Reason: fmt.Sprintf("hand the command over: %v", err)}
	}
	begin = time.Now()
	if r.Stdin != nil {
		go func() {
			// The guest may end without reading all of it: no error.
			_, _ = io.Copy(guest.Stream(wire.Stdin), r.Stdin)
			_ = guest.Write(wire.StdinEnd, nil)
		}()
	}

	timeout := r.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	alarm := newAlarm(timeout, guest, machine)
	err = r.follow(frames, result)
	result.Elapsed = time.Since(begin)
	if alarm.stop() {
		return result, &TimeoutError{After: timeout}
	}
	if err == nil && result.ExitCode != 0 {
		err = &ExitError{result.ExitCode}
	}
	return result, err
}

// awaitInit waits for the first frame, as long as the machine shows signs of
// life: a busy host may take minutes for a boot, but one that hangs is silent.
func awaitInit(frames *wire.Reader, machine *qemu.Machine, silence time.Duration) (wire.Hello, error) {
	var hello wire.Hello
	arrived, watched := make(chan struct{}), make(chan error, 1)
	go func() { watched <- watch(machine, silence, arrived) }()
	frame, err := frames.Next()
	close(arrived)
	if hung := <-watched; hung != nil {
		return hello, hung
	}
	switch {
	case err != nil:
		return hello, &BootError{Reason: "the machine ended before init was reached"}
	case frame.Kind != wire.Ready:
		return hello, &BootError{Reason: fmt.Sprintf("init failed: %s", frame.Payload)}
	}
	return hello, frame.Decode(&hello)
}

// bootSilences bounds a boot that goes on and on, in silences.
const bootSilences = 10

// watch closes the channel of a machine that hangs before the first frame has
// arrived, and says so.
func watch(machine *qemu.Machine, silence time.Duration, arrived <-chan struct{}) error {
	begin := time.Now()
	tick := time.NewTicker(silence / 20)
	defer tick.Stop()
	for {
		select {
		case <-arrived:
			return nil
		case now := <-tick.C:
			var reason string
			if machine.Console.Silence(now) > silence {
				reason = fmt.Sprintf("the boot hung: nothing on the console for %v", silence)
			} else if now.Sub(begin) > bootSilences*silence {
				reason = fmt.Sprintf("init was not reached within %v", bootSilences*silence)
			} else {
				continue
			}
			machine.Channel.Close()
			return &BootError{Reason: reason}
		}
	}
}

func (r *Run) job() wire.Job {
	dir := r.Dir
	if dir == "" {
		dir = "/root"
	}
	return wire.Job{
		Hostname: "vm", Argv: r.Argv, Env: slices.Concat(baseEnv, r.Env), Dir: dir,
		Stdin: r.Stdin != nil, Fetch: r.Fetch, Disk: r.Disk.mountPoint(),
	}
}

// follow passes on what the guest sends, until the exit of the command.
func (r *Run) follow(frames *wire.Reader, result *Result) error {
	var file wire.FileInfo
	for {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return &CrashError{Reason: "the machine ended before the command did"}
		} else if err != nil {
			return &CrashError{Reason: err.Error()}
		}
		switch frame.Kind {
		case wire.Stdout:
			err = write(r.Stdout, frame.Payload)
		case wire.Stderr:
			err = write(r.Stderr, frame.Payload)
		case wire.File:
			err = frame.Decode(&file)
			result.Files[file.Path] = []byte{}
		case wire.FileData:
			result.Files[file.Path] = append(result.Files[file.Path], frame.Payload...)
		case wire.Exit:
			var status wire.Status
			err = frame.Decode(&status)
			result.ExitCode = status.Code
			return err
		case wire.Failure:
			return &CrashError{Reason: "init failed: " + string(frame.Payload)}
		}
		if err != nil {
			return err
		}
	}
}

func write(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// alarm ends a command that takes too long: first by SIGQUIT, then with its
// machine.
type alarm struct {
	mu    sync.Mutex
	timer *time.Timer
	rang  bool
}

func newAlarm(after time.Duration, guest *wire.Writer, machine *qemu.Machine) *alarm {
	a := &alarm{}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(after, func() {
		a.mu.Lock()
		a.rang = true
		a.timer = time.AfterFunc(quitGrace, func() { machine.Channel.Close() })
		a.mu.Unlock()
		_ = guest.Write(wire.Signal, []byte{byte(syscall.SIGQUIT)}) // the machine may be gone
	})
	return a
}

// stop says whether the alarm rang.
func (a *alarm) stop() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer.Stop()
	return a.rang
}
