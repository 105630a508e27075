package ui

import (
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// failureWords say what an errno of accept() means, as what follows the name of
// the process, and what to do about it; both may be empty.
func failureWords(errno uint16) (means, remedy string) {
	switch unix.Errno(errno) {
	case unix.EMFILE:
		return "has no free file descriptor (limit RLIMIT_NOFILE)",
			"see what it leaves open (ls -l /proc/PID/fd), or raise the limit (ulimit -n, LimitNOFILE= of its unit)"
	case unix.ENFILE:
		return "gets no file, because the whole system has no free one (limit fs.file-max)",
			"see who has so many open (lsof), or raise the limit (sysctl fs.file-max)"
	case unix.ENOMEM, unix.ENOBUFS:
		return "gets no memory for the socket",
			"see how much memory is free, and the memory limit of its cgroup"
	case unix.EINVAL:
		return "calls it on a socket that does not listen, or not any more",
			"see whether the server called shutdown() on its listener, or never listen()"
	case unix.EPERM, unix.EACCES:
		return "is not allowed to: a security module, a firewall or a BPF program refuses",
			"see the audit log (dmesg, ausearch -m avc)"
	case unix.ECONNABORTED:
		return "got a connection that was aborted before it was handed over",
			"this connection is lost; the server has to call accept() again"
	case unix.EFAULT:
		return "gave no good place for the client's address",
			"the connection was taken out of the queue and is lost: a fault of the server"
	case unix.EBADF:
		return "gave a descriptor that is not open", "a fault of the server"
	case unix.ENOTSOCK, unix.EOPNOTSUPP:
		return "gave a descriptor that cannot listen", "a fault of the server"
	}
	return "", ""
}

// failureOf is "EMFILE: python3[123] has no free file descriptor (limit
// RLIMIT_NOFILE)"; who is empty for processes too many to tell apart.
func failureOf(errno uint16, who string) string {
	if who == "" {
		return event.ErrnoName(errno) + " in many processes"
	}
	text := event.ErrnoName(errno) + ": " + who
	if means, _ := failureWords(errno); means != "" {
		text += " " + means
	}
	return text
}

// failureWho names a process as one that failed: "python3[123]"; empty: many.
func failureWho(f *listener.AcceptFailures) string {
	return string(appendAcceptor(nil, &event.Event{PID: f.PID, Comm: f.Comm}, false, 0))
}

// acceptErrorWords are what follows "accept() FAILS with ": the errno, where,
// who and why, how often, and who suffers.
func acceptErrorWords(l *Line) string {
	text := event.ErrnoName(l.Errno)
	switch {
	case l.listener().IsValid():
		text += " at " + string(appendAddr(nil, l.listener()))
	case l.FD >= 0:
		text += " on descriptor " + Count(int64(l.FD))
	}
	if l.FD < 0 {
		text += " by io_uring"
	}
	who := string(appendAcceptor(nil, l.Event, true, 0))
	if who == "" {
		who = "a process"
	}
	text += ": " + who
	if means, _ := failureWords(l.Errno); means != "" {
		text += " " + means
	}
	if l.Repeats > 1 {
		text += "; " + Count(l.Repeats) + " times" + within(l.Over)
	}
	return text + waitingWords(l)
}

// waitingWords say who suffers from a failed accept(): "; 3 connections wait in
// the queue".
func waitingWords(l *Line) string {
	text, depth, backlog := "; ", l.Depth, l.Backlog
	if !l.DepthKnown() {
		text, depth, backlog = "; about ", l.AboutDepth, l.AboutBacklog
	}
	if depth == 0 {
		return ""
	}
	text += Plural(depth, "connection")
	if depth == 1 {
		text += " waits in the queue"
	} else {
		text += " wait in the queue"
	}
	if depth > backlog {
		text += ", which is full"
	}
	return text
}

// endsListening says that the failure is how threads that block in accept()
// learn that their listener was shut down: once each. A server that tries again
// has not learned it.
func (l *Line) endsListening() bool {
	return l.Kind == event.AcceptError && unix.Errno(l.Errno) == unix.EINVAL && l.Over == 0
}

// within is " in the last second" or " in the last 1.20 s"; empty: not known.
func within(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d.Round(100*time.Millisecond) == time.Second:
		return " in the last second"
	}
	return " in the last " + Duration(d)
}

// failing remembers when each process failed last, so that a line can say how
// long its number of failures took.
type failing map[failingKey]int64

type failingKey struct {
	listener uint64
	inode    uint32
	pid      uint32
	fd       int32
	errno    uint16
}

// maxFailing bounds what is remembered.
const maxFailing = 4096

// since is how long before e the same failed before; 0: it was not seen to.
func (f *failing) since(e *event.Event) time.Duration {
	key := failingKey{e.ListenerID, e.Inode, e.PID, e.FD, e.Errno}
	last, seen := (*f)[key]
	if *f == nil || !seen && len(*f) >= maxFailing {
		*f = make(failing)
	}
	(*f)[key] = e.Time
	if !seen {
		return 0
	}
	return ago(e.Time, last)
}
