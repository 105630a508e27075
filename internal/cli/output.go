package cli

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// readerGone says that nobody reads what is written to w any more. A write
// would tell, but there may be nothing to write for hours.
func readerGone(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// helpOutput keeps the first error of writing a help, which cobra would print in
// its own way and then forget.
type helpOutput struct {
	io.Writer
	err error
}

func (h *helpOutput) Write(p []byte) (int, error) {
	if h.err == nil {
		if _, err := h.Writer.Write(p); err != nil {
			h.err = fmt.Errorf("write help: %w", err)
		}
	}
	return len(p), nil
}
