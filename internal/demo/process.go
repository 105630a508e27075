package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// accepted is a line of the server about one connection.
type accepted struct {
	peerPort uint16
	peer     string // one of peerAlive, peerFIN, peerRST
	at       time.Time
}

// process is the running server.
type process struct {
	addr     netip.AddrPort
	pid      int
	accepted <-chan accepted // closed when the server ends
	in       io.WriteCloser
	done     <-chan struct{}
	kill     func()
}

// startServer runs argv, which must call Serve, and waits until it listens.
// The kernel kills it when this process dies, however that happens.
func startServer(ctx context.Context, argv []string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the demo's server: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the demo's server: %w", err), in.Close())
	}

	started := make(chan error)
	drained := make(chan struct{})
	done := make(chan struct{})
	go func() {
		// Pdeathsig is sent when the thread that forked ends, so keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			<-drained // Wait closes out, whatever is in it
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start the demo's server: %w", err), in.Close(), out.Close())
	}

	lines := make(chan accepted, 64)
	listening := make(chan netip.AddrPort, 1)
	go func() {
		defer close(drained)
		defer close(lines)
		defer close(listening)
		readServer(out, listening, lines)
	}()
	p := &process{
		pid: cmd.Process.Pid, accepted: lines, in: in, done: done,
		kill: func() { _ = cmd.Process.Kill() },
	}
	select {
	case addr, ok := <-listening:
		if !ok {
			p.stop()
			return nil, errors.New("start the demo's server: it ended before it listened")
		}
		p.addr = addr
		return p, nil
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	}
}

// readServer reads until the server ends. The channels hold all that a demo
// makes, and a stopped demo leaves nobody to read them.
func readServer(out io.Reader, listening chan<- netip.AddrPort, lines chan<- accepted) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		var addr string
		if _, err := fmt.Sscanf(scanner.Text(), "listening %s", &addr); err == nil {
			if parsed, err := netip.ParseAddrPort(addr); err == nil {
				listening <- parsed
			}
			continue
		}
		line := accepted{at: time.Now()}
		if _, err := fmt.Sscanf(scanner.Text(), "accepted %d %s", &line.peerPort, &line.peer); err != nil {
			continue
		}
		select {
		case lines <- line:
		default: // a stranger floods the port
		}
	}
}

// release ends the slow request.
func (p *process) release() error {
	if _, err := p.in.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("end the slow request: %w", err)
	}
	return nil
}

// stop kills the server and waits until it is gone. It can be called again.
func (p *process) stop() {
	_ = p.in.Close()
	p.kill()
	<-p.done
}
