package recording

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBusy says that a trace is being written into the same file.
var ErrBusy = errors.New("another acceptwatch is writing it; name another file, or end that one")

// openEmpty opens a file to write a trace into it, and empties it, unless another
// writer has it: two of them would write over each other's frames. The lock ends
// with the file. What is no regular file, a pipe or a device, is not locked.
func openEmpty(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := takeOver(file, path); err != nil {
		file.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return file, nil
}

func takeOver(file *os.File, path string) error {
	opened, err := file.Stat()
	if err != nil || !opened.Mode().IsRegular() {
		return err
	}
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrBusy
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		// A file system that has no locks.
	case err != nil:
		return err
	}
	// A writer that rotates may have given it its number meanwhile.
	if named, err := os.Stat(path); err != nil || !os.SameFile(opened, named) {
		return ErrBusy
	}
	return file.Truncate(0)
}
