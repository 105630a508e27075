package owner

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Identity is what a process is. What could not be read is empty.
type Identity struct {
	Exe     string // path of the program; " (deleted)" at its end if that is gone
	Command string // with its arguments, at most 4 KiB
	Cgroup  string // path
	Place

	Parent int // pid
	// InnerPID is its number in its own pid namespace; 0: the same, or not known.
	InnerPID int
}

// GoneError says that a process has exited, and its number may be another's.
type GoneError struct{ PID int }

func (e *GoneError) Error() string {
	return fmt.Sprintf("process %d has exited since it was found", e.PID)
}

// Identify reads what a process is, which started at a time (Process.StartTime).
// The time is looked at again when all is read: what another process with the
// same number said is never returned, but a *GoneError.
func (s Scanner) Identify(pid int, startTime uint64) (Identity, error) {
	dir := filepath.Join(s.proc(), strconv.Itoa(pid))
	var id Identity
	id.Exe, _ = os.Readlink(filepath.Join(dir, "exe")) // kernel threads have none
	id.Command = parseCommand(readSome(dir, "cmdline"))
	id.Cgroup = parseCgroup(readSome(dir, "cgroup"))
	id.Place = ParsePlace(id.Cgroup)
	id.Parent, id.InnerPID = parseStatus(readSome(dir, "status"), pid)

	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Identity{}, &GoneError{pid}
	}
	st, err := parseStat(text)
	if err != nil {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	if st.startTime != startTime {
		return Identity{}, &GoneError{pid}
	}
	return id, nil
}

// mostCommand is how much of a command line is kept, in bytes.
const mostCommand = 4 << 10

// readSome is the text of a small file; empty if it cannot be read.
func readSome(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return string(text)
}

// parseCommand joins the arguments, which end with a zero byte each.
func parseCommand(text string) string {
	text = strings.TrimRight(text[:min(len(text), mostCommand)], "\x00")
	return strings.ReplaceAll(text, "\x00", " ")
}

// parseStatus reads PPid and the last number of NSpid (proc_pid_status, 4.1).
func parseStatus(text string, pid int) (parent, inner int) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		switch name {
		case "PPid":
			parent, _ = strconv.Atoi(fields[0])
		case "NSpid":
			inner, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	if inner == pid {
		inner = 0
	}
	return parent, inner
}

// Identities remembers what processes are: each is read once. It is safe for
// concurrent use.
type Identities struct {
	scanner Scanner

	mu    sync.Mutex
	known map[identityKey]Identity
}

type identityKey struct {
	pid       int
	startTime uint64
}

// mostIdentities bounds the memory: about 10 MiB.
const mostIdentities = 16 << 10

// NewIdentities makes an empty cache.
func NewIdentities(s Scanner) *Identities {
	return &Identities{scanner: s, known: make(map[identityKey]Identity)}
}

// Of is what a process is; the error is that of Identify.
func (c *Identities) Of(p Process) (Identity, error) {
	key := identityKey{p.PID, p.StartTime}
	c.mu.Lock()
	id, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	id, err := c.scanner.Identify(p.PID, p.StartTime)
	if err != nil {
		return id, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= mostIdentities {
		clear(c.known)
	}
	c.known[key] = id
	return id, nil
}
