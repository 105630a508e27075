package collect

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/diagnose"
)

// resolver finds out what system calls are about.
type resolver struct {
	proc     procFS
	listener uint32 // inode
	sockets  *sockets
	watching map[descriptor]diagnose.Maybe[diagnose.Watch] // what watches found
}

// descriptor is one of a process.
type descriptor struct{ pid, fd int }

// target is what a call waits for.
func (r *resolver) target(pid int, c *call) diagnose.Target {
	switch c.name {
	case "futex":
		name := fmt.Sprintf("futex 0x%x", c.args[0])
		if c.args[1]&futexPrivate == 0 {
			name = diagnose.SharedFutex + name
		}
		return diagnose.Target{Kind: diagnose.KindFutex, Name: name, Op: c.futexOp()}
	case "poll", "ppoll":
		return r.first(pid, polled(pid, c.args[0], c.args[1]))
	case "select", "pselect6":
		return r.first(pid, selected(pid, c.args))
	case "wait4":
		return diagnose.Target{Kind: diagnose.KindProcess, Name: child(int32(c.args[0]))}
	case "waitid":
		return diagnose.Target{Kind: diagnose.KindProcess, Name: child(int32(c.args[1]))}
	}
	if fd, ok := c.fd(); ok {
		return r.descriptor(pid, fd)
	}
	return diagnose.Target{}
}

func child(pid int32) string {
	if pid <= 0 {
		return "any child process"
	}
	return "process " + strconv.Itoa(int(pid))
}

// first is the listener if it is among them, or else another one, or else the first
// socket, or else the first of all.
func (r *resolver) first(pid int, fds []int) diagnose.Target {
	var best diagnose.Target
	for _, fd := range fds {
		t := r.descriptor(pid, fd)
		if t.Listener {
			return t
		}
		isSocket := t.Kind == diagnose.KindTCP || t.Kind == diagnose.KindUDP || t.Kind == diagnose.KindUnix
		if best.Kind == "" || t.Listening || isSocket && len(fds) <= mostDecisive && best.Kind != diagnose.KindTCP {
			best = t
		}
	}
	if len(fds) > mostDecisive {
		return diagnose.Target{Kind: diagnose.KindOther, FD: best.FD, Name: fmt.Sprintf("%d descriptors", len(fds))}
	}
	return best
}

// mostDecisive is of how many descriptors in a poll one can be what it is about:
// a socket and a pipe to wake it up. A list of more is that of an event loop.
const mostDecisive = 2

// descriptor says what a descriptor of a process is.
func (r *resolver) descriptor(pid, fd int) diagnose.Target {
	t := diagnose.Target{FD: fd}
	link := r.proc.link(pid, fd)
	inode, isSocket := socketInode(link)
	switch {
	case link == "":
		return t
	case isSocket && inode == r.listener:
		t.Kind, t.Listener = diagnose.KindTCP, true
	case isSocket:
		s := r.sockets.find(pid, inode)
		s.FD = fd
		return s
	case link == "anon_inode:[eventpoll]":
		t.Kind = diagnose.KindEpoll
		_, t.Listener = r.watches(pid, fd)
	case strings.HasPrefix(link, "pipe:"):
		t.Kind, t.Name = diagnose.KindPipe, link
	case strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "/dev/"):
		t.Kind, t.Name = diagnose.KindFile, link
	default:
		t.Kind, t.Name = diagnose.KindOther, link
	}
	return t
}

const (
	epollET        = 1 << 31
	epollExclusive = 1 << 28
)

// watches says how an epoll set watches the listener. It asks the kernel once: the
// server's own calls wait while it writes down a set, which can be large.
func (r *resolver) watches(pid, fd int) (diagnose.Watch, bool) {
	d := descriptor{pid, fd}
	w, asked := r.watching[d]
	if !asked {
		w = r.readWatch(d)
		r.watching[d] = w
	}
	return w.Get()
}

func (r *resolver) readWatch(d descriptor) (w diagnose.Maybe[diagnose.Watch]) {
	f, err := r.proc.open(d.pid, "fdinfo/"+strconv.Itoa(d.fd))
	if err != nil {
		return w
	}
	defer f.Close()
	if events, found := findWatched(f, r.listener); found {
		w = diagnose.Known(diagnose.Watch{FD: d.fd, Edge: events&epollET != 0, Exclusive: events&epollExclusive != 0})
	}
	return w
}

// mostPolled bounds what is read of another process's memory for a call.
const mostPolled = 256

// polled are the descriptors of an array of struct pollfd.
func polled(pid int, at, count uint64) []int {
	b := make([]byte, 8*min(count, mostPolled))
	if !readMemory(pid, at, b) {
		return nil
	}
	var fds []int
	for ; len(b) > 0; b = b[8:] {
		if fd := int32(binary.NativeEndian.Uint32(b)); fd >= 0 {
			fds = append(fds, int(fd))
		}
	}
	return fds
}

// selected are the descriptors that select(2) was asked for. The kernel writes
// into these sets only when the call returns.
func selected(pid int, args [6]uint64) []int {
	const mostSelected = 1024
	seen := make(map[int]bool)
	var fds []int
	for _, at := range args[1:3] {
		if at == 0 {
			continue
		}
		b := make([]byte, (min(args[0], mostSelected)+63)/64*8)
		if !readMemory(pid, at, b) {
			continue
		}
		for fd := range 8 * len(b) {
			if b[fd/8]&(1<<(fd%8)) != 0 && !seen[fd] {
				seen[fd] = true
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

// readMemory fills b from a process's memory.
func readMemory(pid int, at uint64, b []byte) bool {
	if len(b) == 0 {
		return false
	}
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	return err == nil && n == len(b)
}
