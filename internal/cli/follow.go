package cli

import (
	"context"

	"acceptwatch/internal/filter"
)

// follow tells the source who holds what, when the filter names processes.
func (l *live) follow(ctx context.Context) {
	h, ok := l.src.(holder)
	if !ok || !filtersProcesses(&l.opt.filter) {
		return
	}
	sockets, err := l.hosts.heldBy(ctx)
	if err == nil {
		err = h.SetHeld(sockets)
	}
	if err != nil {
		l.warn("follow processes", err)
	}
}

func filtersProcesses(f *filter.Filter) bool { return len(f.PIDs)+len(f.Comms) > 0 }
