package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// The exit codes.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitFailOn      = 4
)

// exits are what they mean.
var exits = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitError, "error"},
	{exitUsage, "bad usage"},
	{exitUnavailable, "not permitted or not supported here"},
	{exitFailOn, "a --fail-on condition was met"},
}

func exitList() string {
	var b strings.Builder
	for _, e := range exits {
		fmt.Fprintf(&b, "  %d  %s\n", e.code, e.meaning)
	}
	return b.String()
}

// usageError is a command line that makes no sense. Its text is one sentence:
// what is wrong, what that means, what to do.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// unavailableError is something that this kernel, or these privileges, do not
// allow.
type unavailableError struct {
	err    error
	remedy string // what to do, as an imperative; may be empty
}

func (e *unavailableError) Error() string {
	if e.remedy == "" {
		return e.err.Error()
	}
	return e.err.Error() + "; " + e.remedy
}

func (e *unavailableError) Unwrap() error { return e.err }

// unavailable marks err as exit code 3.
func unavailable(err error, remedy string) error {
	return &unavailableError{err, remedy}
}

// failOnError says that a --fail-on condition was met.
type failOnError struct{ condition string }

func (e *failOnError) Error() string { return "condition met: " + e.condition }

// exitStatusError is the end of a command that was run for the user, who gets
// its exit code as our own.
type exitStatusError struct{ code int }

func (e *exitStatusError) Error() string { return fmt.Sprintf("the command exited with %d", e.code) }

// exitCode is the one map from error to exit code.
func exitCode(err error) int {
	var (
		usage   *usageError
		missing *unavailableError
		failOn  *failOnError
		status  *exitStatusError
	)
	switch {
	case err == nil, quiet(err):
		return exitDone
	case errors.As(err, &status):
		return status.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &failOn):
		return exitFailOn
	case errors.As(err, &missing), errors.Is(err, fs.ErrPermission), errors.Is(err, errors.ErrUnsupported):
		return exitUnavailable
	default:
		return exitError
	}
}

// errorMessage is what a person is told about err; empty: nothing.
func errorMessage(err error) string {
	var status *exitStatusError
	if err == nil || quiet(err) || errors.As(err, &status) {
		return ""
	}
	return err.Error()
}

// quiet says that err is a normal end: the reader of standard output went away
// (`| head -1`), or somebody pressed Ctrl-C.
func quiet(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, context.Canceled)
}
