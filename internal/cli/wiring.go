package cli

import (
	"context"

	"acceptwatch/internal/probe"
)

// openProbe is the source of a live command: the eBPF programs.
func openProbe(_ context.Context, o sourceOptions) (source, error) {
	t, err := probe.Open(probe.Options{
		Mode:    probe.Mode(o.Mode),
		Filter:  o.Filter,
		MinWait: o.MinWait,
		Kinds:   o.Kinds,
	})
	if err != nil {
		return nil, err
	}
	return live{t}, nil
}

// live is the probe, as this package asks for it.
type live struct{ *probe.Tracer }

// SetHeld implements holder.
func (l live) SetHeld(sockets []heldSocket) error {
	held := make([]probe.Held, len(sockets))
	for i, s := range sockets {
		held[i] = probe.Held(s)
	}
	return l.Tracer.SetHeld(held)
}
