package collect

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// procFS reads a proc file system.
type procFS string

// text is a file of a process, and whether it could be read.
func (p procFS) text(pid int, name string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(string(p), strconv.Itoa(pid), name))
	return string(b), err == nil
}

func (p procFS) open(pid int, name string) (*os.File, error) {
	return os.Open(filepath.Join(string(p), strconv.Itoa(pid), name))
}

func (p procFS) thread(pid, tid int, name string) (string, bool) {
	return p.text(pid, "task/"+strconv.Itoa(tid)+"/"+name)
}

// lives says that a thread has not ended.
func (p procFS) lives(pid, tid int) bool {
	_, err := os.Stat(filepath.Join(string(p), strconv.Itoa(pid), "task", strconv.Itoa(tid)))
	return err == nil
}

// link is what a descriptor is: "socket:[123]", a path.
func (p procFS) link(pid, fd int) string {
	to, err := os.Readlink(filepath.Join(string(p), strconv.Itoa(pid), "fd", strconv.Itoa(fd)))
	if err != nil {
		return ""
	}
	return to
}

// numbers are the entries of a directory of a process, at most so many, and how
// many there are.
func (p procFS) numbers(pid int, dir string, most int) (list []int, all int, err error) {
	f, err := os.Open(filepath.Join(string(p), strconv.Itoa(pid), dir))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			if all++; len(list) < most {
				list = append(list, n)
			}
		}
	}
	return list, all, nil
}

// socketInode reads "socket:[12345]".
func socketInode(link string) (uint32, bool) {
	inner, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(inner, "]"), 10, 32)
	return uint32(n), err == nil
}
