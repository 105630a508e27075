// Package netns finds the network namespaces of the host and runs code inside
// them.
//
// A network namespace is identified by the inode number of its nsfs file
// (/proc/PID/ns/net, fs/nsfs.c). It stays alive as long as a process, an open
// descriptor, a bind mount or a socket refers to it, so the inode number is an
// identity only while something holds it: numbers of dead namespaces are given
// out again (proc_alloc_inum, fs/proc/generic.c).
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// NS names a network namespace.
type NS struct {
	// Inode is the inode number of the nsfs file, as in "net:[4026531840]".
	Inode uint32

	// Path opens the namespace. A path below /proc/PID stops working when the
	// process exits; Do then looks for another path to the same inode.
	Path string
}

// String gives the form that the kernel's links have: "net:[4026531840]".
func (ns NS) String() string {
	return fmt.Sprintf("net:[%d]", ns.Inode)
}

// Name is the one that `ip netns` gave it, which Resolve knows; empty: it was
// found elsewhere.
func (ns NS) Name() string {
	if dir, name := filepath.Split(ns.Path); slices.Contains(hostRoots().named, filepath.Clean(dir)) {
		return name
	}
	return ""
}

// maxPID is the largest value of kernel.pid_max on 64 bit (PID_MAX_LIMIT,
// include/linux/threads.h). Namespace inode numbers start far above it, at
// 0xEFFFFFF0 or more (include/uapi/linux/nsfs.h, PROC_DYNAMIC_FIRST), so a bare
// number is never both.
const maxPID = 4 << 20

// ErrNotNetNS says that a file exists, but is not a network namespace.
var ErrNotNetNS = errors.New("not a network namespace")

// ErrNotFound says that no process and no mount visible here refers to the
// wanted inode number.
var ErrNotFound = errors.New("no such network namespace among the processes and mounts visible here")

// Current returns the namespace of the calling thread.
func Current() (NS, error) {
	return current(hostRoots())
}

func current(r roots) (NS, error) {
	thread := filepath.Join(r.proc, "thread-self/ns/net")
	inode, err := inodeOf(thread)
	if err != nil {
		return NS{}, fmt.Errorf("read current network namespace: %w", err)
	}

	// Every thread of a process is normally in one namespace, and the path of
	// the process outlives the path of the thread.
	process := fmt.Sprintf("%s/%d/ns/net", r.proc, os.Getpid())
	if got, err := inodeOf(process); err == nil && got == inode {
		return NS{Inode: inode, Path: process}, nil
	}
	return NS{
		Inode: inode,
		Path:  fmt.Sprintf("%s/%d/task/%d/ns/net", r.proc, os.Getpid(), unix.Gettid()),
	}, nil
}

// Resolve finds the namespace that a user named, as one of:
//
//   - a pid (a number up to 4194304): the namespace of that process
//   - an inode number (any larger number), also written net:[INODE]
//   - a path: anything with a slash
//   - a name that `ip netns` made: the file of that name in /run/netns
//
// It returns an error that wraps ErrNotNetNS or ErrNotFound, or that of the
// file system.
func Resolve(name string) (NS, error) {
	return resolve(hostRoots(), name)
}

func resolve(r roots, name string) (NS, error) {
	number := name
	if inner, ok := strings.CutPrefix(name, "net:["); ok && strings.HasSuffix(inner, "]") {
		number = strings.TrimSuffix(inner, "]")
	}

	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case name == "":
		return NS{}, errors.New("resolve network namespace: empty name, give a pid, a path or an inode number")
	case err == nil && (n > maxPID || number != name):
		return find(r, uint32(n))
	case err == nil:
		return resolvePath(fmt.Sprintf("%s/%d/ns/net", r.proc, n), fmt.Sprintf("of process %d", n))
	case errors.Is(err, strconv.ErrRange):
		return NS{}, fmt.Errorf("resolve network namespace %s: %w", name, ErrNotFound)
	case strings.Contains(name, "/"):
		return resolvePath(name, name)
	}

	for _, dir := range r.named {
		path := filepath.Join(dir, name)
		ns, err := resolvePath(path, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return ns, err
	}
	return NS{}, fmt.Errorf("resolve network namespace %q: no file of that name in %s; give a pid, a path or an inode number",
		name, strings.Join(r.named, " or "))
}

func resolvePath(path, what string) (NS, error) {
	inode, err := inodeOf(path)
	if err != nil {
		return NS{}, fmt.Errorf("resolve network namespace %s: %w", what, explain(err))
	}
	return NS{Inode: inode, Path: path}, nil
}

// find looks for any path that leads to the namespace.
func find(r roots, inode uint32) (NS, error) {
	all, errs := list(r)
	for _, ns := range all {
		if ns.Inode == inode {
			return ns, nil
		}
	}
	err := fmt.Errorf("find network namespace net:[%d]: %w", inode, ErrNotFound)
	return NS{}, errors.Join(append([]error{err}, errs...)...)
}

// inodeOf opens the file to prove that it is a network namespace: a stat of the
// link alone cannot tell it from a mount namespace or a regular file.
func inodeOf(path string) (uint32, error) {
	fd, err := openNS(path)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return inodeOfFD(fd, path)
}

func openNS(path string) (int, error) {
	// O_NONBLOCK: the path comes from a user and may be a FIFO.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func inodeOfFD(fd int, path string) (uint32, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if uint32(fs.Type) != unix.NSFS_MAGIC {
		return 0, fmt.Errorf("%s: %w", path, ErrNotNetNS)
	}

	// NS_GET_NSTYPE exists since 4.11 (fs/nsfs.c).
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return 0, &os.PathError{Op: "ioctl NS_GET_NSTYPE", Path: path, Err: err}
	}
	if kind != unix.CLONE_NEWNET {
		return 0, fmt.Errorf("%s: %w", path, ErrNotNetNS)
	}

	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return uint32(st.Ino), nil
}

// explain adds what a user can do about a refused look-up.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission) && capability.Root(unix.CAP_SYS_PTRACE):
		return fmt.Errorf("%w (%s)", err, capability.EvenRoot)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w (needs root, or CAP_SYS_PTRACE for processes of other users)", err)
	}
	return err
}
