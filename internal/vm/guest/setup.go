package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/vm/wire"
)

// ModuleList is the file with the paths of the modules to load, one a line, in
// that order, each with its parameters.
const ModuleList = "/lib/modules/load"

// descriptors is the limit on open files that commands start with: enough for
// thousands of connections, the hard limit for more.
var descriptors = syscall.Rlimit{Cur: 65536, Max: 1 << 20}

// setUp makes the bare kernel a place where programs run.
func setUp() error {
	if err := mountAll(mounts); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &descriptors); err != nil {
		return fmt.Errorf("raise the limit on open files: %w", err)
	}
	return nil
}

// loadModules loads what the host put into the initramfs.
func loadModules() error {
	list, err := os.ReadFile(ModuleList)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		path, parameters, _ := strings.Cut(strings.TrimSpace(line), " ")
		module, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := unix.InitModule(module, parameters); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load the module %s: %w", path, err)
		}
	}
	return nil
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// openPort opens the port to the host. The device appears some time after its
// driver was loaded.
func openPort() (*os.File, error) {
	const (
		patience = 10 * time.Second
		interval = 5 * time.Millisecond
	)
	for deadline := time.Now().Add(patience); ; time.Sleep(interval) {
		device, err := findPort()
		if err != nil {
			return nil, err
		}
		if device != "" {
			// Blocking, and no poller: the driver's poll reports
			// room for one buffer, and a large write would spin.
			fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				return os.NewFile(uintptr(fd), device), nil
			}
			if !errors.Is(err, unix.ENOENT) {
				return nil, fmt.Errorf("open %s: %w", device, err)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no virtio port is named %s", wire.PortName)
		}
	}
}

// findPort returns the device of the port, or nothing.
func findPort() (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && string(bytes.TrimSpace(text)) == wire.PortName {
			return "/dev/" + filepath.Base(filepath.Dir(name)), nil
		}
	}
	return "", nil
}

// hello describes the kernel that is running.
func hello() wire.Hello {
	var name unix.Utsname
	var now unix.Timespec
	// Neither can fail with these arguments.
	_ = unix.Uname(&name)
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return wire.Hello{Release: unix.ByteSliceToString(name.Release[:]), Uptime: now.Nano()}
}
