package probe

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// onNewThread runs fn on a thread that is thrown away afterwards, because what
// it changed (its network namespace) cannot be undone. The first thread of a
// process cannot end, so another one is taken.
func onNewThread(fn func() error) error {
	done := make(chan error)
	go func() {
		err := errors.New("the test ended inside")
		defer func() { done <- err }()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Hold the first thread while another one is locked.
			defer runtime.UnlockOSThread()
			err = onNewThread(fn)
			return
		}
		err = fn()
	}()
	return <-done
}
