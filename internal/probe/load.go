package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"acceptwatch/internal/netns"
	"acceptwatch/internal/sockdiag"
)

// load brings the plan's programs and maps into the kernel.
func load(p *Plan, o *Options, existing int) (*ebpf.Collection, error) {
	spec, err := specOf(p.Mode)
	if err != nil {
		return nil, err
	}
	size := chooseSizes(o, existing, os.Getpagesize())
	if err := configure(spec, o, size); err != nil {
		return nil, err
	}
	spec.Maps[tracingMapEvents].MaxEntries = size.ring
	spec.Maps[tracingMapListeners].MaxEntries = size.listeners
	spec.Maps[tracingMapHistogramOf].MaxEntries = size.listeners
	spec.Maps[tracingMapHistograms].MaxEntries = size.histograms
	spec.Maps[tracingMapFreeHistograms].MaxEntries = size.histograms

	wanted := map[string]bool{}
	for _, h := range p.hooks {
		wanted[h.program] = true
	}
	if p.walk != "" {
		wanted[p.walk] = true
	}
	for name := range spec.Programs {
		if !wanted[name] {
			delete(spec.Programs, name)
		}
	}
	// Maps are charged to the limit on locked memory before Linux 5.11.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit on locked memory, which holds maps before Linux 5.11: %w; run it with sudo", err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, explainLoad(err)
	}
	for slot := firstHistogram; slot < size.histograms; slot++ {
		if err := coll.Maps[tracingMapFreeHistograms].Put(nil, slot); err != nil {
			coll.Close()
			return nil, fmt.Errorf("fill the list of free histograms: %w", err)
		}
	}
	return coll, nil
}

func specOf(m Mode) (*ebpf.CollectionSpec, error) {
	if m == Kprobe {
		return loadKprobe()
	}
	return loadTracing()
}

// explainLoad adds what to do. A verifier's complaint keeps its last lines.
func explainLoad(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return fmt.Errorf("load programs: this kernel's verifier refuses one, please report it: %+v", tail(verifier))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("load programs: %w; run it with sudo, and see 'acceptwatch doctor'", err)
	default:
		return fmt.Errorf("load programs: %w", err)
	}
}

func tail(v *ebpf.VerifierError) error {
	const lines = 12
	if len(v.Log) > lines {
		v.Log = v.Log[len(v.Log)-lines:]
	}
	return v
}

// countListeners asks every network namespace; those that do not answer count
// nothing, as the number only sizes maps.
func countListeners() int {
	n := 0
	namespaces, _ := netns.List()
	for _, ns := range namespaces {
		query := sockdiag.ListenersQuery()
		query.NetNS = &ns
		_ = sockdiag.Dump(context.Background(), query, func(*sockdiag.Socket) error {
			n++
			return nil
		})
	}
	return n
}

// attached is a hook in place.
type attached struct {
	hook
	link.Link
}

// attach puts the plan's programs in place, in order. What could not be
// attached although it is optional goes into the plan's limits.
func attach(p *Plan, coll *ebpf.Collection) ([]attached, error) {
	var links []attached
	for _, h := range p.hooks {
		l, err := attachHook(h, coll.Programs[h.program])
		switch {
		case err == nil:
			links = append(links, attached{h, l})
		case h.optional:
			p.Limits = append(p.Limits, fmt.Sprintf("%s cannot be attached (%v): %s", h.symbol, err, missingHook(h.role)))
		default:
			return nil, errors.Join(fmt.Errorf("attach to %s: %w", h.symbol, err), detach(links))
		}
	}
	return links, nil
}

func attachHook(h hook, prog *ebpf.Program) (link.Link, error) {
	switch h.kind {
	case kprobe:
		return link.Kprobe(h.symbol, prog, nil)
	case kretprobe:
		return link.Kretprobe(h.symbol, prog, nil)
	default:
		return link.AttachTracing(link.TracingOptions{Program: prog})
	}
}

func detach(links []attached) error {
	var errs []error
	for _, l := range slices.Backward(links) {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
