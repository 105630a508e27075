package owner

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// Scan looks at every descriptor of every process once, and returns who holds
// the sockets with these inode numbers (those of /proc/net/tcp and sock_diag).
// A socket without an owner is not in the map. The error is for /proc itself;
// processes that could not be inspected are in the Report.
//
// Processes in other network namespaces are looked at too: a socket belongs to
// the namespace it was made in, and can be inherited or passed to anywhere.
func (s Scanner) Scan(inodes map[uint32]struct{}) (map[uint32][]Process, Report, error) {
	proc, err := unix.Open(s.proc(), openDir, 0)
	if err != nil {
		return nil, Report{}, fmt.Errorf("list processes in %s: %w", s.proc(), err)
	}
	defer unix.Close(proc)

	sc := scan{
		wanted: inodes,
		found:  make(map[uint32][]Process),
		procFD: proc,
		dirents: [3][]byte{
			make([]byte, 4*direntSize), make([]byte, direntSize), make([]byte, direntSize),
		},
	}
	if len(inodes) == 0 {
		return sc.found, Report{}, nil
	}
	err = numericEntries(proc, sc.dirents[0], func(pid int) error {
		sc.process(pid)
		return nil
	})
	if err != nil {
		return nil, sc.report, fmt.Errorf("list processes in %s: %w", s.proc(), err)
	}
	sc.report.EvenRoot = sc.report.Denied > 0 && capability.Root(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH)
	return sc.found, sc.report, nil
}

type scan struct {
	wanted  map[uint32]struct{}
	found   map[uint32][]Process
	report  Report
	procFD  int
	dirents [3][]byte // of /proc, of task, of fd

	hits []hit // of the process at hand
	link [64]byte
	stat [1024]byte
}

type hit struct {
	inode uint32
	fd    int
}

// process adds the sockets of one process.
//
// Pid reuse: an open directory below /proc/PID is bound to the process, not to
// the number (proc_pid_make_inode, fs/proc/base.c). All of it is read relative
// to the descriptor of PID/fd, so links and stat are of one process or fail with
// ESRCH. The start time is read on both sides nevertheless, for file systems
// that only look like proc, as in a test or a copy.
func (s *scan) process(pid int) {
	s.report.Processes++
	dir, err := unix.Openat(s.procFD, strconv.Itoa(pid)+"/fd", openDir, 0)
	if err != nil {
		s.failed(pid, err)
		return
	}
	defer unix.Close(dir)

	s.hits = s.hits[:0]
	before := s.report.FDs
	if err := s.descriptors(dir); err != nil {
		s.failed(pid, err)
		return
	}
	if s.report.FDs == before {
		// The first thread may have exited and left others: its descriptors
		// are gone, theirs are not. Kernel threads have just the one.
		s.otherThreads(pid, dir)
	}
	if len(s.hits) == 0 {
		return
	}

	st, err := s.readStat(dir, "../stat")
	if err != nil {
		s.failed(pid, err)
		return
	}
	again, err := s.readStat(s.procFD, strconv.Itoa(pid)+"/stat")
	if err != nil || again.startTime != st.startTime {
		return // exited during the scan: it holds nothing any more
	}
	s.add(pid, st)
}

// descriptors adds the wanted ones of an open fd directory to the hits.
func (s *scan) descriptors(dir int) error {
	return numericEntries(dir, s.dirents[2], func(fd int) error {
		s.report.FDs++
		n, err := unix.Readlinkat(dir, strconv.Itoa(fd), s.link[:])
		switch {
		case gone(err):
			return nil // closed meanwhile
		case err != nil:
			return err
		}
		inode, ok := parseSocketLink(s.link[:n])
		if !ok {
			return nil
		}
		if _, ok := s.wanted[inode]; ok {
			s.hits = append(s.hits, hit{inode, fd})
		}
		return nil
	})
}

func (s *scan) otherThreads(pid, dir int) {
	tasks, err := unix.Openat(dir, "../task", openDir, 0)
	if err != nil {
		return
	}
	defer unix.Close(tasks)
	err = numericEntries(tasks, s.dirents[1], func(tid int) error {
		if tid == pid || len(s.hits) > 0 {
			return nil
		}
		fds, err := unix.Openat(tasks, strconv.Itoa(tid)+"/fd", openDir, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fds)
		return s.descriptors(fds)
	})
	if err != nil {
		s.failed(pid, err)
	}
}

func (s *scan) readStat(dir int, path string) (stat, error) {
	b, err := readAt(dir, path, s.stat[:])
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// add turns the hits into one Process per socket.
func (s *scan) add(pid int, st stat) {
	slices.SortFunc(s.hits, func(a, b hit) int {
		if a.inode != b.inode {
			return int(int64(a.inode) - int64(b.inode))
		}
		return a.fd - b.fd
	})
	for i := 0; i < len(s.hits); {
		p := Process{PID: pid, Comm: st.comm, StartTime: st.startTime}
		inode := s.hits[i].inode
		for ; i < len(s.hits) && s.hits[i].inode == inode; i++ {
			p.FDs = append(p.FDs, s.hits[i].fd)
		}
		s.found[inode] = append(s.found[inode], p)
	}
}

func (s *scan) failed(pid int, err error) { s.report.failed(pid, err) }

func (r *Report) failed(pid int, err error) {
	switch {
	case gone(err):
	case denied(err):
		r.Denied++
	default:
		if r.Failed++; r.FirstError == nil {
			r.FirstError = fmt.Errorf("inspect process %d: %w", pid, err)
		}
	}
}
