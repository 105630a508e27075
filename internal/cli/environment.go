package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

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

	// netns is the inode of this process's network namespace; 0: not known.
	netns uint32

	host identity // for recordings

	// sockets lists the TCP sockets of all network namespaces, or of the
	// filter's, that are in one of the states and have one of the filter's
	// ports. The error is for what is missing in the list.
	sockets func(context.Context, sockdiag.StateMask, *filter.Filter) ([]hostSocket, error)

	// owners finds who holds sockets, by their inodes.
	owners func(inodes map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error)

	// identify fills in what a process is; nil: nobody asks.
	identify func(*owner.Process)

	// evidence watches the processes that hold a listener; nil: nothing is
	// diagnosed.
	evidence gatherEvidence

	// spawn runs a function beside everything else.
	spawn func(func())
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
		sockets:   hostSockets,
		owners:    owner.Scanner{}.Scan,
		host:      hostIdentity(),
		spawn:     func(run func()) { go run() },
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

func hostSockets(ctx context.Context, states sockdiag.StateMask, f *filter.Filter) ([]hostSocket, error) {
	namespaces, errs := netns.List()
	query := sockdiag.Query{States: states}
	for _, r := range f.Ports {
		query.Ports = append(query.Ports, sockdiag.PortRange{Low: r.First, High: r.Last})
	}
	var list []hostSocket
	for _, ns := range namespaces {
		if f.NetNS != 0 && f.NetNS != ns.Inode {
			continue
		}
		query.NetNS = &ns
		err := sockdiag.Dump(ctx, query, func(s *sockdiag.Socket) error {
			list = append(list, hostSocket{*s, ns.Inode})
			return nil
		})
		if err != nil && !errors.Is(err, sockdiag.ErrInterrupted) {
			errs = append(errs, fmt.Errorf("list sockets of %s: %w", ns, err))
		}
	}
	return list, errors.Join(errs...)
}
