package cli

import (
	"context"
	"net/netip"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
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
		all[i].Held = ui.HeldBy(byKey[all[i].Key], g.silent)
	}
}
