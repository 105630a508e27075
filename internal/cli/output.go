package cli

import (
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
