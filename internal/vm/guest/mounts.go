package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one line of the mount table.
type mount struct {
	fstype, target string
	flags          uintptr
	options        string
	optional       bool // a kernel may be built without it
}

const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

// mounts is what a program expects to find, in the order of mounting.
var mounts = []mount{
	{"proc", "/proc", quiet, "", false},
	{"sysfs", "/sys", quiet, "", false},
	{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755", false},
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,ptmxmode=0666", true},
	{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", false},
	{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", false},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", false},
	{"cgroup2", "/sys/fs/cgroup", quiet, "", true},
	{"tracefs", "/sys/kernel/tracing", quiet, "", true},
	{"debugfs", "/sys/kernel/debug", quiet, "", true},
	{"bpf", "/sys/fs/bpf", quiet, "mode=0700", true},
	{"securityfs", "/sys/kernel/security", quiet, "", true},
}

// diskDevice is the first disk of virtio_blk.
const diskDevice = "/dev/vda"

func mountDisk(target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(diskDevice, target, "ext4", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount the disk %s on %s: %w", diskDevice, target, err)
	}
	return nil
}

// links are what udev or systemd would have made.
var links = map[string]string{
	"/dev/fd":     "/proc/self/fd",
	"/dev/stdin":  "/proc/self/fd/0",
	"/dev/stdout": "/proc/self/fd/1",
	"/dev/stderr": "/proc/self/fd/2",
}

// mountAll mounts the table. An optional file system that this kernel does not
// have is no error: its directory does not exist, or the type is unknown.
func mountAll(table []mount) error {
	for _, m := range table {
		err := os.MkdirAll(m.target, 0o755)
		if err == nil {
			err = unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.options)
		}
		absent := errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM)
		if err != nil && !(m.optional && absent) {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
