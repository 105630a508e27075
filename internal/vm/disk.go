package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Disk is one that the guest may write to: empty at first, and gone afterwards.
// The guest has it as ext4 at DiskMount.
type Disk struct {
	MiB  int // 0: none; ext4 takes a part of them for itself
	IOPS int // so many requests a second it serves, at most; 0: any number
}

// DiskMount is where the guest has its disk.
const DiskMount = "/mnt/disk"

// image makes the file behind a disk, which has no name any more; nil: there is no
// disk.
func (d Disk) image(ctx context.Context) (*os.File, error) {
	if d.MiB == 0 {
		if d.IOPS != 0 {
			return nil, errors.New("a disk without a size cannot be slow: give its size in MiB")
		}
		return nil, nil
	}
	const maker = "mkfs.ext4"
	program, err := exec.LookPath(maker)
	if err != nil {
		// Where root's programs are not in the path of others.
		if program, err = exec.LookPath("/usr/sbin/" + maker); err != nil {
			return nil, fmt.Errorf("%w: install Debian's package e2fsprogs", err)
		}
	}
	file, err := os.CreateTemp("", "acceptwatch-disk-")
	if err != nil {
		return nil, err
	}
	err = file.Truncate(int64(d.MiB) << 20)
	if err == nil {
		var out []byte
		if out, err = exec.CommandContext(ctx, program, "-q", "-F", file.Name()).CombinedOutput(); err != nil {
			err = fmt.Errorf("make the file system of a disk of %d MiB: %w\n%s", d.MiB, err, out)
		}
	}
	if err = errors.Join(err, os.Remove(file.Name())); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// modules are those that drive it.
func (d Disk) modules() []string {
	if d.MiB == 0 {
		return nil
	}
	return []string{"virtio_blk"}
}

func (d Disk) mountPoint() string {
	if d.MiB == 0 {
		return ""
	}
	return DiskMount
}
