// Package owner finds the processes that hold a socket and the threads that
// wait in accept for a connection, from /proc.
//
// Nothing here is atomic: processes open, pass and close sockets while they are
// looked at. What is reported was true at some moment of the scan, and belongs
// to the process that had the pid at that moment.
package owner

import (
	"fmt"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/quantity"
)

// Process holds a socket.
type Process struct {
	PID  int
	Comm string // of the first thread; at most 15 bytes, may be any bytes

	// FDs are the descriptors that refer to the socket, in ascending order.
	FDs []int

	// StartTime is when the process started, in clock ticks since boot (field
	// 22 of /proc/PID/stat). A process is the same if PID and StartTime are.
	StartTime uint64

	// Identity is what it is, if somebody asked: see Identities.
	Identity Identity
}

// Scanner reads a proc file system. The zero value reads /proc.
type Scanner struct {
	// Proc is the mount point; empty is /proc.
	Proc string
}

func (s Scanner) proc() string {
	if s.Proc == "" {
		return "/proc"
	}
	return s.Proc
}

// Report says what a scan covered. A process that exits during the scan is in
// none of the counts but Processes.
type Report struct {
	Processes int // seen
	FDs       int // descriptors looked at

	// Denied is how many processes or threads could not be inspected for want
	// of permission, Failed for any other reason, with the first such error.
	Denied, Failed int
	FirstError     error

	// EvenRoot says that they were denied to root, with all that it takes.
	EvenRoot bool
}

// Complete reports whether everything could be inspected, so that a socket
// without an owner has none among the processes of this /proc. Processes of
// other pid namespaces, and those hidden by the mount option hidepid, are never
// seen.
func (r Report) Complete() bool { return r.Denied == 0 && r.Failed == 0 }

// String says what could not be inspected; it is empty if nothing.
func (r Report) String() string {
	var s string
	if r.Denied > 0 {
		why := "it needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root"
		if r.EvenRoot {
			why = capability.EvenRoot
		}
		s = fmt.Sprintf("%s could not be inspected (permission denied: %s)", quantity.Plural(r.Denied, "process"), why)
	}
	if r.Failed > 0 {
		if s != "" {
			s += "; "
		}
		s += fmt.Sprintf("%s could not be inspected (%v)", quantity.Plural(r.Failed, "process"), r.FirstError)
	}
	return s
}
