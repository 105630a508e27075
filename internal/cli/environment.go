package cli

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/fence"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/sockdiag"
)

// environment is what commands ask the host about, other than events. Tests
// answer themselves.
type environment struct {
	getenv    func(string) string
	now       func() time.Time // the wall clock
	monotonic func() int64     // ns, CLOCK_MONOTONIC

	// pause returns after a time, and false if ctx ended before.
	pause func(ctx context.Context, d time.Duration) bool

	// netns is the inode of this process's network namespace; 0: not known.
	netns uint32

	host identity // for recordings

	// sockets calls fn with the TCP sockets of all network namespaces, or of the
	// filter's, that the query selects; without ports in it, those that have
	// one of the filter's. The socket is valid until fn returns. The error is
	// for what is missing.
	sockets func(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error

	// owners finds who holds sockets, by their inodes.
	owners func(inodes map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error)

	// identify fills in what a process is; nil: nobody asks.
	identify func(*owner.Process)

	// evidence watches the processes that hold a listener; nil: nothing is
	// diagnosed.
	evidence gatherEvidence

	// spawn runs a function beside everything else.
	spawn func(func())

	// fence takes from the process what it will not use later, for good; nil: it
	// keeps everything, as a process must that is not the program's own.
	fence func(fence.Later) error
}

// hostSocket is a socket and the inode of its network namespace.
type hostSocket struct {
	sockdiag.Socket
	NetNS uint32
}

func hostEnvironment() environment {
	env := environment{
		getenv:    os.Getenv,
		now:       time.Now,
		monotonic: monotonic,
		pause:     pause,
		sockets:   hostSockets,
		owners:    owner.Scanner{}.Scan,
		host:      hostIdentity(),
		spawn:     func(run func()) { go run() },
		fence:     fence.Set,
	}
	if own, err := netns.Current(); err == nil {
		env.netns = own.Inode
	}
	identities := owner.NewIdentities(owner.Scanner{})
	env.identify = func(p *owner.Process) {
		if id, err := identities.Of(*p); err == nil { // else it has exited
			p.Identity = id
		}
	}
	env.evidence = evidenceOf(identities, env.netns)
	return env
}

func monotonic() int64 {
	var now unix.Timespec
	// It cannot fail: the clock exists and the pointer is good.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// list is the sockets that are in one of the states.
func (env *environment) list(ctx context.Context, states sockdiag.StateMask, f *filter.Filter) ([]hostSocket, error) {
	var list []hostSocket
	err := env.sockets(ctx, sockdiag.Query{States: states}, f, func(s *hostSocket) { list = append(list, *s) })
	return list, err
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
