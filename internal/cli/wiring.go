package cli

import (
	"context"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/metrics"
	"acceptwatch/internal/probe"
)

// openProbe is the source of a live command: the eBPF programs.
func openProbe(_ context.Context, o sourceOptions) (source, error) {
	tracer, err := probe.Open(probe.Options{
		Mode: probe.Mode(o.Mode), Filter: o.Filter, MinWait: o.MinWait, Kinds: o.Kinds, Frugal: o.Frugal, Room: o.Room,
	})
	if err != nil {
		return nil, err
	}
	return probeSource{tracer}, nil
}

// probeSource is a Tracer that is told of sockets in this package's words.
type probeSource struct{ *probe.Tracer }

func (s probeSource) SetHeld(sockets []heldSocket) error {
	held := make([]probe.Held, len(sockets))
	for i, socket := range sockets {
		held[i] = probe.Held(socket)
	}
	return s.Tracer.SetHeld(held)
}

// Programs are what the tracer's have cost, in this package's words.
func (s probeSource) Programs() []metrics.Program {
	var all []metrics.Program
	for _, p := range s.Tracer.Programs() {
		all = append(all, metrics.Program(p))
	}
	return all
}

// openQueues is the walk of snapshot: a socket iterator.
func openQueues(f filter.Filter, entries, listeners int) (walk, error) {
	q, err := probe.OpenQueues(f, entries, listeners)
	if err != nil {
		return nil, err
	}
	return q, nil
}
