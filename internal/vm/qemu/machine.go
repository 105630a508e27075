package qemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is a running virtual machine.
type Machine struct {
	Channel net.Conn // the host's end of the port; EOF when the machine ends
	Console *Console
	kill    context.CancelFunc
	ended   chan struct{}
	err     error // of the emulator that ended by itself, valid after ended
}

// Start runs the machine until ctx is done or [Machine.Stop]. When this process
// dies, the emulator is killed. What the console prints also goes to echo,
// unless that is nil.
func Start(ctx context.Context, c Config, echo io.Writer) (*Machine, error) {
	binary, err := exec.LookPath(c.Arch.Binary)
	if err != nil {
		return nil, fmt.Errorf("%w: install Debian's package %s", err, c.Arch.Package)
	}
	c.tsc = hostTSC()
	return start(ctx, binary, c.arguments(), echo)
}

func start(ctx context.Context, binary string, args []string, echo io.Writer) (*Machine, error) {
	host, guest, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("open the channel: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &Machine{Channel: host, Console: &Console{echo: echo, last: time.Now()}, kill: cancel, ended: make(chan struct{})}

	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = m.Console, m.Console
	cmd.ExtraFiles = []*os.File{guest}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second

	started := make(chan error)
	go func() {
		// Pdeathsig counts from the death of the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		guest.Close()
		started <- err
		if err == nil {
			if err := cmd.Wait(); ctx.Err() == nil {
				m.err = err
			}
			close(m.ended)
		}
	}()
	if err := <-started; err != nil {
		cancel()
		host.Close()
		return nil, fmt.Errorf("start the emulator: %w", err)
	}
	return m, nil
}

// Stop ends the machine, if it still runs, and waits until nothing is left of
// it.
func (m *Machine) Stop() {
	m.kill()
	<-m.ended
	m.Channel.Close()
}

// AwaitEnd waits for a machine that is about to end by itself, as its channel
// shows, so long at most.
func (m *Machine) AwaitEnd(atMost time.Duration) {
	select {
	case <-m.ended:
	case <-time.After(atMost):
	}
}

// Err is how the emulator itself failed: by an exit code, or a signal. It is nil
// if it did not, or was killed by [Machine.Stop]. It waits for the emulator's end.
func (m *Machine) Err() error {
	<-m.ended
	return m.err
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	guest := os.NewFile(uintptr(fds[1]), "channel of the guest")
	file := os.NewFile(uintptr(fds[0]), "channel of the host")
	defer file.Close()
	host, err := net.FileConn(file)
	if err != nil {
		guest.Close()
		return nil, nil, err
	}
	return host, guest, nil
}
