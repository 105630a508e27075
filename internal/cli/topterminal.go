package cli

import (
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/gdamore/tcell/v3"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// topTerminal is the terminal of this process. Tcell's own opens it by name again
// when it comes back from Ctrl-Z, which the fence forbids; this one stays open.
// It is not standard input, which may be a recording.
type topTerminal struct {
	*os.File
	reading sync.Mutex     // held by who reads
	saved   *term.State    // nil: as it was before
	resized chan os.Signal // nil: nobody wants to know
}

func openTopTerminal() (*topTerminal, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &topTerminal{File: f}, nil
}

// control calls fn with the descriptor, which File.Fd would make a blocking one.
func (t *topTerminal) control(fn func(fd int) error) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = fn(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// Start implements tcell.Tty.
func (t *topTerminal) Start() error {
	if t.saved != nil {
		return nil
	}
	if err := t.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return t.control(func(fd int) (err error) {
		t.saved, err = term.MakeRaw(fd)
		return err
	})
}

// Read implements tcell.Tty.
func (t *topTerminal) Read(b []byte) (int, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	return t.File.Read(b)
}

// Drain implements tcell.Tty: who reads wakes up.
func (t *topTerminal) Drain() error { return t.SetReadDeadline(time.Now()) }

// Stop implements tcell.Tty.
func (t *topTerminal) Stop() error {
	t.NotifyResize(nil)
	// Tcell does not wait for the reader that it has woken up; before that has gone,
	// the next deadline would make it go on, and take a key for nobody.
	if t.Drain() == nil {
		t.reading.Lock()
		defer t.reading.Unlock()
	}
	if t.saved == nil {
		return nil
	}
	saved := t.saved
	t.saved = nil
	return t.control(func(fd int) error { return term.Restore(fd, saved) })
}

// NotifyResize implements tcell.Tty.
func (t *topTerminal) NotifyResize(to chan<- bool) {
	if t.resized != nil {
		signal.Stop(t.resized)
		close(t.resized)
		t.resized = nil
	}
	if to == nil {
		return
	}
	resized := make(chan os.Signal, 1)
	t.resized = resized
	signal.Notify(resized, unix.SIGWINCH)
	go func() {
		for range resized {
			select {
			case to <- true:
			default: // it will be looked at anyhow
			}
		}
	}()
}

// WindowSize implements tcell.Tty. Terminals that do not know their size, such as
// serial lines, have 80 columns and 25 rows.
func (t *topTerminal) WindowSize() (tcell.WindowSize, error) {
	size := tcell.WindowSize{Width: 80, Height: 25}
	err := t.control(func(fd int) error {
		is, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil {
			return err
		}
		if is.Col > 0 && is.Row > 0 {
			size.Width, size.Height = int(is.Col), int(is.Row)
		}
		return nil
	})
	return size, err
}
