package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// cgroupRoots are where systemd and others mount the cgroup2 tree; the second
// is the one of hybrid set-ups.
var cgroupRoots = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// ErrNotCgroup says that a directory exists, but not in a cgroup2 tree.
var ErrNotCgroup = errors.New("not a directory of a cgroup2 tree")

// CgroupID is the kernel's id of a cgroup, given as the path of its directory
// ("/sys/fs/cgroup/system.slice/nginx.service") or as it stands in
// /proc/PID/cgroup ("/system.slice/nginx.service").
func CgroupID(path string) (uint64, error) {
	dir, err := cgroupDir(path)
	if err != nil {
		return 0, err
	}
	return cgroupHandle(dir)
}

// CgroupsBelow are the ids of a cgroup, given as to CgroupID, and of those below
// it that exist now.
func CgroupsBelow(path string) (map[uint64]bool, error) {
	top, err := cgroupDir(path)
	if err != nil {
		return nil, err
	}
	ids := make(map[uint64]bool)
	err = filepath.WalkDir(top, func(dir string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != top:
			return nil // removed meanwhile
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		id, err := cgroupHandle(dir)
		if err == nil {
			ids[id] = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list cgroups below %q: %w", path, err)
	}
	return ids, nil
}

// cgroupDir is the directory of a cgroup.
func cgroupDir(path string) (string, error) {
	candidates := []string{path}
	for _, root := range cgroupRoots {
		candidates = append(candidates, filepath.Join(root, path))
	}
	failure := error(unix.ENOENT)
	for _, candidate := range candidates {
		var fs unix.Statfs_t
		err := unix.Statfs(candidate, &fs)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			failure = err
		case fs.Type != unix.CGROUP2_SUPER_MAGIC:
			failure = ErrNotCgroup
		default:
			return candidate, nil
		}
	}
	return "", fmt.Errorf("find cgroup %q: %w; give a directory below %s", path, failure, cgroupRoots[0])
}

// cgroupHandle asks for the file handle, which is the id (kernfs_encode_fh,
// fs/kernfs/mount.c). Where that is not allowed, the inode number is the same
// on 64 bit (kernfs_id_ino, include/linux/kernfs.h, since 5.5).
func cgroupHandle(path string) (uint64, error) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err == nil && handle.Size() == 8 {
		return binary.NativeEndian.Uint64(handle.Bytes()), nil
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, fmt.Errorf("read inode of cgroup %q: %w", path, err)
	}
	return stat.Ino, nil
}
