package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// EnterError says why a namespace could not be entered.
type EnterError struct {
	NS  NS
	Err error
}

func (e *EnterError) Error() string {
	return fmt.Sprintf("enter network namespace %s by %s: %v", e.NS, e.NS.Path, e.Err)
}

func (e *EnterError) Unwrap() error { return e.Err }

// Do runs fn on an OS thread that is inside ns and returns its error. If the
// namespace cannot be entered, fn does not run and the error is an *EnterError.
//
// What fn makes (sockets, descriptors) keeps belonging to the namespace after
// Do. Goroutines that fn starts run on other threads, outside of it. fn runs on
// a goroutine of its own, so it must not call runtime.Goexit (testing's
// FailNow). The thread returns to its own namespace afterwards; if it cannot,
// it is thrown away and Do says so.
func Do(ns NS, fn func() error) error {
	fd, err := Open(ns)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	return onOtherThread(func() (error, bool) { return runInside(fd, ns, fn) })
}

// onOtherThread runs fn on a thread of its own that is not the process's first.
// If fn says that the thread is not restored, no goroutine ever runs on it
// again: a goroutine that ends while locked takes its thread with it.
//
// The first thread is different. It cannot end, and its namespace is what
// /proc/PID/ns/net shows as the namespace of the whole process.
func onOtherThread(fn func() (err error, restored bool)) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			err := onOtherThread(fn) // the first thread is taken meanwhile
			runtime.UnlockOSThread()
			result <- err
			return
		}
		err, restored := fn()
		if restored {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

func runInside(fd int, ns NS, fn func() error) (err error, restored bool) {
	// The calling thread's namespace, not /proc/self, which is the first
	// thread's.
	home, err := openNS("/proc/thread-self/ns/net")
	if err != nil {
		return &EnterError{ns, fmt.Errorf("open own namespace to return to: %w", err)}, true
	}
	defer unix.Close(home)

	if inode, err := inodeOfFD(home, "own namespace"); err == nil && inode == ns.Inode {
		return fn(), true // works without any privilege
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return &EnterError{ns, explainSetns(err)}, true
	}

	err = fn()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave network namespace %s: %w", ns, back)), false
	}
	return err, true
}

// Open returns a descriptor of the namespace, which the caller closes. It is
// proved to be the one with ns.Inode: if ns.Path is gone or leads elsewhere by
// now (its process exited, its pid was reused), another path is looked for. The
// error is an *EnterError.
func Open(ns NS) (int, error) {
	return open(hostRoots(), ns)
}

func open(r roots, ns NS) (int, error) {
	fd, err := openSame(ns)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, errMoved) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return -1, &EnterError{ns, explain(err)}
	}

	other, findErr := find(r, ns.Inode)
	if findErr != nil {
		return -1, &EnterError{ns, errors.Join(err, findErr)}
	}
	fd, err = openSame(other)
	if err != nil {
		return -1, &EnterError{other, explain(err)}
	}
	return fd, nil
}

var errMoved = errors.New("path leads to another namespace by now")

func openSame(ns NS) (int, error) {
	fd, err := openNS(ns.Path)
	if err != nil {
		return -1, err
	}
	inode, err := inodeOfFD(fd, ns.Path)
	if err == nil && inode != ns.Inode {
		err = fmt.Errorf("%w: net:[%d]", errMoved, inode)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func explainSetns(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) && capability.Root(unix.CAP_SYS_ADMIN):
		return fmt.Errorf("setns: %w (%s)", err, capability.EvenRoot)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("setns: %w (needs CAP_SYS_ADMIN here and in the user namespace that owns it)", err)
	}
	return fmt.Errorf("setns: %w", err)
}
