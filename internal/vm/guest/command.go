package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/vm/wire"
)

// grace is how long output is still read after the command has ended: what it
// left behind may hold the pipes open for ever.
const grace = 2 * time.Second

// Exit codes that shells use, for a command that could not be started.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// perform runs the job's command to its end and streams its output.
func perform(job wire.Job, frames *wire.Reader, host *wire.Writer) (wire.Status, error) {
	if err := unix.Sethostname([]byte(job.Hostname)); err != nil {
		return wire.Status{}, fmt.Errorf("set the hostname: %w", err)
	}
	if job.Disk != "" {
		if err := mountDisk(job.Disk); err != nil {
			return wire.Status{}, err
		}
	}
	os.Clearenv()
	for _, assignment := range job.Env {
		name, value, _ := cutEnv(assignment)
		if err := os.Setenv(name, value); err != nil {
			return wire.Status{}, fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := os.MkdirAll(job.Dir, 0o755); err != nil {
		return wire.Status{}, err
	}
	if err := os.Chdir(job.Dir); err != nil {
		return wire.Status{}, err
	}
	path, err := exec.LookPath(job.Argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return refuse(host, job.Argv[0], err)
	}

	p, err := openPipes(job.Stdin)
	if err != nil {
		return wire.Status{}, err
	}
	pid, err := syscall.ForkExec(path, job.Argv, &syscall.ProcAttr{
		Dir: job.Dir, Env: os.Environ(),
		Files: []uintptr{p.childIn.Fd(), p.childOut.Fd(), p.childErr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	p.closeChild()
	if err != nil {
		return refuse(host, path, err)
	}

	var output sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(host.Stream(wire.Stdout), p.out) })
	output.Go(func() { _, _ = io.Copy(host.Stream(wire.Stderr), p.err) })
	go obey(frames, pid, p.in)

	status := reap(pid)
	done := make(chan struct{})
	go func() { output.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace):
	}
	return status, nil
}

// refuse reports a command that could not be started as a shell would.
func refuse(host *wire.Writer, name string, cause error) (wire.Status, error) {
	code := exitNotExecutable
	if errors.Is(cause, exec.ErrNotFound) || errors.Is(cause, os.ErrNotExist) {
		code = exitNotFound
	}
	message := fmt.Sprintf("vmrun: start %s in the guest: %v\n", name, cause)
	return wire.Status{Code: code}, host.Write(wire.Stderr, []byte(message))
}

// cutEnv splits NAME=value.
func cutEnv(assignment string) (name, value string, ok bool) {
	for i := 1; i < len(assignment); i++ {
		if assignment[i] == '=' {
			return assignment[:i], assignment[i+1:], true
		}
	}
	return assignment, "", false
}

// reap waits for pid, and for the orphans that only init can reap.
func reap(pid int) wire.Status {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return wire.Status{Code: exitNotExecutable} // no child is left: cannot be
		case ended == pid && status.Exited():
			return wire.Status{Code: status.ExitStatus()}
		case ended == pid && status.Signaled():
			return wire.Status{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
		}
	}
}

// obey carries out what the host sends while the command runs: its input, and
// signals. Input waits in memory, so that a signal gets past a command that does
// not read.
func obey(frames *wire.Reader, pid int, stdin *os.File) {
	const waiting = 1024 // frames
	input := make(chan []byte, waiting)
	go func() {
		for data := range input {
			if _, err := stdin.Write(data); err != nil {
				break // nobody reads it
			}
		}
		stdin.Close()
		for range input {
		}
	}()
	open := true
	end := func() {
		if open {
			close(input)
			open = false
		}
	}
	defer end()
	for {
		frame, err := frames.Next()
		if err != nil {
			return
		}
		switch frame.Kind {
		case wire.Stdin:
			if open {
				input <- append([]byte(nil), frame.Payload...)
			}
		case wire.StdinEnd:
			end()
		case wire.Signal:
			if len(frame.Payload) == 1 {
				_ = unix.Kill(pid, unix.Signal(frame.Payload[0])) // it may be gone
			}
		}
	}
}

// pipes are the ends of the command's standard files.
type pipes struct {
	in, out, err                *os.File // init's
	childIn, childOut, childErr *os.File
}

func openPipes(stdin bool) (p pipes, err error) {
	if p.childIn, p.in, err = os.Pipe(); err != nil {
		return p, err
	}
	if !stdin {
		p.childIn.Close()
		if p.childIn, err = os.Open(os.DevNull); err != nil {
			return p, err
		}
	}
	if p.out, p.childOut, err = os.Pipe(); err != nil {
		return p, err
	}
	p.err, p.childErr, err = os.Pipe()
	return p, err
}

func (p *pipes) closeChild() {
	p.childIn.Close()
	p.childOut.Close()
	p.childErr.Close()
}

// sendFiles returns the files that a glob matches, directories with all that is
// in them.
func sendFiles(host *wire.Writer, glob string) error {
	names, err := filepath.Glob(glob)
	if err != nil {
		return fmt.Errorf("return %s: %w", glob, err)
	}
	for _, name := range names {
		err := filepath.WalkDir(name, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				return err
			}
			return sendFile(host, path)
		})
		if err != nil {
			return fmt.Errorf("return %s: %w", glob, err)
		}
	}
	return nil
}

func sendFile(host *wire.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := host.WriteJSON(wire.File, wire.FileInfo{Path: path, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{host.Stream(wire.FileData)}, struct{ io.Reader }{file}, make([]byte, wire.Chunk)); err != nil {
		return err
	}
	return host.Write(wire.FileEnd, nil)
}
