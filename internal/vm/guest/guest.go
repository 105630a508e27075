// Package guest is the init of a virtual machine: it makes the bare kernel a
// place where programs run, runs one for the host and reports how it ended.
package guest

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/vm/wire"
)

// IsInit says that this process is the init of a virtual machine that vmrun
// booted, and should call [Main].
func IsInit() bool { return os.Getpid() == 1 && os.Args[0] == "/init" }

// Main does the work of init. It never returns: at the end it turns the machine
// off.
func Main() {
	defer powerOff()
	if err := setUp(); err != nil {
		complain(nil, err)
		return
	}
	port, err := openPort()
	if err != nil {
		complain(nil, err)
		return
	}
	host := wire.NewWriter(port)
	defer func() {
		if p := recover(); p != nil {
			complain(host, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	if err := serve(wire.NewReader(port), host); err != nil {
		complain(host, err)
	}
}

// serve talks to the host: one job, then the end.
func serve(frames *wire.Reader, host *wire.Writer) error {
	if err := host.WriteJSON(wire.Ready, hello()); err != nil {
		return fmt.Errorf("say that init is ready: %w", err)
	}
	frame, err := frames.Next()
	if err != nil {
		return fmt.Errorf("wait for the job: %w", err)
	}
	if frame.Kind != wire.Start {
		return fmt.Errorf("wait for the job: got a frame of kind %d", frame.Kind)
	}
	var job wire.Job
	if err := frame.Decode(&job); err != nil {
		return err
	}
	status, err := perform(job, frames, host)
	if err != nil {
		return err
	}
	for _, glob := range job.Fetch {
		if err := sendFiles(host, glob); err != nil {
			return err
		}
	}
	return host.WriteJSON(wire.Exit, status)
}

// complain tells the host why init gave up; before there is a channel, on the
// console.
func complain(host *wire.Writer, err error) {
	if host == nil || host.Write(wire.Failure, []byte(err.Error())) != nil {
		fmt.Fprintln(os.Stderr, "vmrun init:", err)
	}
}

// powerOff ends the machine: the host runs it such that a reboot ends it.
func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		fmt.Fprintln(os.Stderr, "vmrun init: reboot:", err)
	}
	select {}
}
