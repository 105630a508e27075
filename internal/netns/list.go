package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/quantity"

	"golang.org/x/sys/unix"
)

// roots are the places where namespaces are looked for.
type roots struct {
	proc  string
	named []string // directories of bind mounts, as `ip netns` makes them
}

func hostRoots() roots {
	return roots{proc: "/proc", named: []string{"/run/netns", "/var/run/netns"}}
}

// List returns the distinct network namespaces that processes are in or that
// are mounted, in order of inode number, and one error for each thing that
// could not be looked at. Both results are meaningful together: the
// namespaces are those that were found in spite of the errors. Processes that
// exit meanwhile are no error; those that may not be inspected are counted in a
// *DeniedError.
//
// Not found are namespaces that only a thread other than a process's first one
// is in, and those that only an open descriptor or a socket keeps alive.
func List() ([]NS, []error) {
	return list(hostRoots())
}

// DeniedError says how many processes' namespaces could not be read.
type DeniedError struct {
	Processes int
	Err       error // of the first of them
	EvenRoot  bool  // they were denied to root, with all that it takes
}

func (e *DeniedError) Error() string {
	why := "needs root or CAP_SYS_PTRACE"
	if e.EvenRoot {
		why = capability.EvenRoot
	}
	return fmt.Sprintf("read network namespaces of %s: %v (%s; namespaces that only %s in are missing)",
		quantity.Plural(e.Processes, "process"), e.Err, why, quantity.Agree(e.Processes, "[it is|they are]"))
}

func (e *DeniedError) Unwrap() error { return e.Err }

func list(r roots) ([]NS, []error) {
	var errs []error
	found := make(map[uint32]NS)
	add := func(ns NS) {
		if _, ok := found[ns.Inode]; !ok {
			found[ns.Inode] = ns
		}
	}

	// Mounts first: their paths live longer than processes.
	mounted, err := mountPoints(filepath.Join(r.proc, "self/mountinfo"))
	if err != nil {
		errs = append(errs, fmt.Errorf("list mounted network namespaces: %w", err))
	}
	named, err := namedFiles(r.named)
	if err != nil {
		errs = append(errs, err)
	}
	for _, path := range append(named, mounted...) {
		inode, err := inodeOf(path)
		switch {
		case err == nil:
			add(NS{Inode: inode, Path: path})
		case errors.Is(err, os.ErrNotExist):
			// Unmounted since it was listed.
		default:
			errs = append(errs, fmt.Errorf("inspect mounted network namespace: %w", explain(err)))
		}
	}

	processes, err := listProcesses(r.proc)
	if err != nil {
		errs = append(errs, err)
	}
	for _, ns := range processes {
		add(ns)
	}

	all := make([]NS, 0, len(found))
	for _, ns := range found {
		all = append(all, ns)
	}
	slices.SortFunc(all, func(a, b NS) int { return int(int64(a.Inode) - int64(b.Inode)) })
	return all, errs
}

// listProcesses returns one NS per distinct namespace of /proc/PID/ns/net.
func listProcesses(proc string) ([]NS, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}

	var (
		all    []NS
		seen   = make(map[uint32]bool)
		denied DeniedError
		buf    [64]byte
	)
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 10, 31); err != nil {
			continue
		}
		path := proc + "/" + name + "/ns/net"
		n, err := unix.Readlink(path, buf[:])
		switch {
		case err == unix.ENOENT || err == unix.ESRCH:
			continue // exited
		case err != nil:
			if denied.Processes++; denied.Err == nil {
				denied.Err = err
			}
			continue
		}
		inode, ok := parseLink(string(buf[:n]))
		if ok && !seen[inode] {
			seen[inode] = true
			all = append(all, NS{Inode: inode, Path: path})
		}
	}
	if denied.Processes > 0 {
		denied.EvenRoot = errors.Is(denied.Err, os.ErrPermission) && capability.Root(unix.CAP_SYS_PTRACE)
		return all, &denied
	}
	return all, nil
}

// parseLink reads "net:[4026531840]".
func parseLink(link string) (uint32, bool) {
	number, ok := strings.CutPrefix(link, "net:[")
	if !ok {
		return 0, false
	}
	number, ok = strings.CutSuffix(number, "]")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), err == nil
}

// namedFiles returns the files in the directories. A missing directory is an
// empty one: `ip netns` makes it with the first namespace.
func namedFiles(dirs []string) ([]string, error) {
	var (
		paths []string
		errs  []error
	)
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("list named network namespaces: %w", explain(err)))
		}
		for _, entry := range entries {
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	return paths, errors.Join(errs...)
}

func mountPoints(mountinfo string) ([]string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMountinfo(f)
}

// parseMountinfo returns the mount points of network namespaces. The fields are
// those of show_mountinfo, fs/proc_namespace.c:
//
//	36 35 0:4 net:[4026532281] /run/netns/a rw shared:1 - nsfs nsfs rw
func parseMountinfo(r io.Reader) ([]string, error) {
	var points []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // overlay mounts have long options
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if _, ok := parseLink(fields[3]); ok {
			points = append(points, unescapeMount(fields[4]))
		}
	}
	return points, lines.Err()
}

// unescapeMount undoes the octal escapes of seq_path for blank, tab, newline
// and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
