package cli

import (
	"context"
)

// follow tells the source who holds what, when the filter names processes.
func (l *live) follow(ctx context.Context) {
	h, ok := l.src.(holder)
	if !ok || !l.opt.filter.ByHolder() {
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
