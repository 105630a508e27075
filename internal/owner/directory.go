package owner

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// direntSize is enough for about 300 entries of /proc/PID/fd at once.
const direntSize = 8 << 10

// numericEntries calls fn with each entry of the directory whose name is a
// number, and stops at the first error. fn must not use buf.
func numericEntries(dir int, buf []byte, fn func(n int) error) error {
	for {
		n, err := getdents(dir, buf)
		if err != nil || n == 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			name, next, ok := nextDirent(rest)
			if !ok {
				return unix.EIO
			}
			rest = next
			if number, ok := parseNumber(name); ok {
				if err := fn(number); err != nil {
					return err
				}
			}
		}
	}
}

func getdents(dir int, buf []byte) (int, error) {
	for {
		n, err := unix.Getdents(dir, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// nextDirent splits off one struct linux_dirent64 (include/linux/dirent.h).
func nextDirent(b []byte) (name, rest []byte, ok bool) {
	const (
		offLength = int(unsafe.Offsetof(unix.Dirent{}.Reclen))
		offName   = int(unsafe.Offsetof(unix.Dirent{}.Name))
	)
	if len(b) <= offName {
		return nil, nil, false
	}
	length := int(binary.NativeEndian.Uint16(b[offLength:]))
	if length <= offName || length > len(b) {
		return nil, nil, false
	}
	name = b[offName:length]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return name, b[length:], true
}

// parseNumber reads a pid, thread id or descriptor number.
func parseNumber(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= 1<<31-1
}

// parseSocketLink reads "socket:[12345]", as a descriptor's link has it
// (sockfs_dname, net/socket.c).
func parseSocketLink(link []byte) (inode uint32, ok bool) {
	number, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	number, ok = bytes.CutSuffix(number, []byte("]"))
	if !ok {
		return 0, false
	}
	n, ok := parseNumber64(number)
	return uint32(n), ok && n <= 1<<32-1
}

func parseNumber64(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil
}

// readAt reads a small file whole, or as much of it as buf holds.
func readAt(dir int, path string, buf []byte) ([]byte, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		default:
			return buf[:n], nil
		}
	}
}

// gone reports whether the error means that the process or thread has exited.
func gone(err error) bool {
	return err == unix.ENOENT || err == unix.ESRCH
}

func denied(err error) bool {
	return err == unix.EACCES || err == unix.EPERM
}
