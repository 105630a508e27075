package cli

import (
	"context"
	"net/netip"
	"slices"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// held finds the connections at these listeners that were accepted, are in
// CLOSE_WAIT and still open.
func (g *gatherer) held(ctx context.Context, table *listener.Table, all []ui.Listener) {
	place := func(h *recording.Held) (listener.Key, bool) {
		local, err := netip.ParseAddrPort(h.Local)
		if err != nil {
			return listener.Key{}, false
		}
		at, ok := table.Resolve(&event.Event{NetNS: h.NetNS, Local: local, Ifindex: h.Ifindex})
		return at.Key, ok
	}
	g.take(g.host.held(ctx, g.filter, func(h *recording.Held) bool {
		_, ok := place(h)
		return ok
	}))
	if !g.looked {
		return
	}
	byKey := make(map[listener.Key][]recording.Held)
	for i := range g.open {
		if key, ok := place(&g.open[i]); ok {
			byKey[key] = append(byKey[key], g.open[i])
		}
	}
	for i := range all {
		all[i].HeldKnown = true
		all[i].Held = g.byOwner(byKey[all[i].Key])
	}
}

// byOwner sums sockets up by the process that has them. One that several have,
// after a fork, counts for the first.
func (g *gatherer) byOwner(sockets []recording.Held) []ui.Held {
	var list []ui.Held
	for i := range sockets {
		var p owner.Process
		if all := sockets[i].Owners; len(all) > 0 {
			p = processOf(&all[0])
		}
		at := slices.IndexFunc(list, func(h ui.Held) bool { return h.Owner.PID == p.PID })
		if at < 0 {
			at = len(list)
			list = append(list, ui.Held{Owner: owner.Process{PID: p.PID, Comm: p.Comm}})
		}
		list[at].Sockets++
		list[at].Silent = max(list[at].Silent, g.silent[sockets[i].Inode])
		list[at].Owner.FDs = append(list[at].Owner.FDs, p.FDs...)
	}
	return list
}
