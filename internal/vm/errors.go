package vm

import (
	"fmt"
	"strings"
	"time"
)

// ExitError says that the command ended with a code that is not 0.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("the command exited with code %d", e.Code) }

// BootError says that a boot did not reach init.
type BootError struct {
	Tries   int // this and those before it
	Reason  string
	Console string
}

// LastLine is where the boot stopped.
func (e *BootError) LastLine() string {
	text := strings.TrimRight(e.Console, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func (e *BootError) Error() string {
	return fmt.Sprintf("boot: %s, in %d tries; the last console:\n%s", e.Reason, e.Tries, indent(e.Console))
}

// CrashError says that the machine ended before the command did: the kernel
// panicked, or something in the guest ended it.
type CrashError struct {
	Reason  string
	Console string
}

func (e *CrashError) Error() string {
	return fmt.Sprintf("%s; the console:\n%s", e.Reason, indent(e.Console))
}

// TimeoutError says that the command did not end in time.
type TimeoutError struct {
	After   time.Duration
	Console string
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("the command did not end within %v; the console:\n%s", e.After, indent(e.Console))
}

// Timeout makes this a timeout for those who ask, as net.Error does.
func (e *TimeoutError) Timeout() bool { return true }

func indent(text string) string {
	return "  | " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  | ")
}
