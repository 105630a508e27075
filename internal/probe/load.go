package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"acceptwatch/internal/netns"
	"acceptwatch/internal/sockdiag"
)

// loaded is what is in the kernel: the maps and most programs, and those that
// were loaded apart, which use the same maps.
type loaded struct {
	*ebpf.Collection
	apart []*ebpf.Collection
	spec  func(object) (*ebpf.CollectionSpec, error) // configured
}

// load brings the plan's programs and maps into the kernel, but for those that
// are loaded apart.
func load(p *Plan, o *Options, size sizes) (*loaded, error) {
	read := map[object]*ebpf.CollectionSpec{}
	l := &loaded{spec: func(from object) (*ebpf.CollectionSpec, error) {
		if spec := read[from]; spec != nil {
			return spec.Copy(), nil
		}
		spec, err := specOf(from)
		if err != nil {
			return nil, err
		}
		if err := configure(spec, o, size, p.probeRead); err != nil {
			return nil, err
		}
		size.set(spec)
		read[from] = spec
		return spec.Copy(), nil
	}}
	// Maps are charged to the limit on locked memory before Linux 5.11.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit on locked memory, which holds maps before Linux 5.11: %w; run it with sudo", err)
	}
	if err := l.loadTogether(p); err != nil {
		p.single = true
		if err := l.loadTogether(p); err != nil {
			return nil, explainLoad(err)
		}
	}
	if err := errors.Join(
		fillFree(l.Maps[tracingMapFreeHistograms], firstHistogram, size.histograms),
		fillFree(l.Maps[tracingMapFreeEntries], firstEntry, firstEntry+size.listeners),
	); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// fillFree puts all from from to before to into a list of free slots.
func fillFree(free *ebpf.Map, from, to uint32) error {
	for slot := from; slot < to; slot++ {
		if err := free.Put(nil, slot); err != nil {
			return fmt.Errorf("fill a list of free slots: %w", err)
		}
	}
	return nil
}

// loadTogether loads all that is not loaded apart.
func (l *loaded) loadTogether(p *Plan) error {
	spec, err := l.spec(p.Mode.object())
	if err != nil {
		return err
	}
	keepPrograms(spec, p.together()...)
	l.Collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: p.types})
	return err
}

// together are the programs that are not loaded apart.
func (p *Plan) together() []string {
	var names []string
	for _, h := range p.hooks {
		if !p.apart(&h) {
			names = append(names, h.program)
		}
	}
	if p.walk != "" {
		names = append(names, p.walk)
	}
	return names
}

// loadApart loads one program, with the maps that are there.
func (l *loaded) loadApart(p *Plan, w way) (*ebpf.Program, error) {
	spec, err := l.spec(w.object)
	if err != nil {
		return nil, err
	}
	keepPrograms(spec, w.program)
	shared := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		switch m := l.Maps[name]; {
		case name == constants:
		case m != nil:
			shared[name] = m
		default: // of kprobes with an entry and a return, which are not loaded apart
			delete(spec.Maps, name)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared, Cache: p.types})
	if err != nil {
		return nil, explainLoad(err)
	}
	l.apart = append(l.apart, coll)
	return coll.Programs[w.program], nil
}

// constants is the section of the configuration, which each object has of its
// own; the other sections are shared like maps.
const constants = ".rodata"

// Close takes everything out of the kernel.
func (l *loaded) Close() {
	for _, coll := range l.apart {
		coll.Close()
	}
	l.Collection.Close()
}

func keepPrograms(spec *ebpf.CollectionSpec, names ...string) {
	for name := range spec.Programs {
		if !slices.Contains(names, name) {
			delete(spec.Programs, name)
		}
	}
}

// set writes the sizes into the maps.
func (size *sizes) set(spec *ebpf.CollectionSpec) {
	spec.Maps[tracingMapEvents].MaxEntries = size.ring
	spec.Maps[tracingMapListeners].MaxEntries = size.listeners
	spec.Maps[tracingMapEntries].MaxEntries = firstEntry + size.listeners
	spec.Maps[tracingMapFreeEntries].MaxEntries = size.listeners
	spec.Maps[tracingMapHistogramOf].MaxEntries = size.listeners
	spec.Maps[tracingMapHistograms].MaxEntries = size.histograms
	spec.Maps[tracingMapFreeHistograms].MaxEntries = size.histograms
	spec.Maps[tracingMapAddresses].MaxEntries = size.addresses
}

func specOf(from object) (*ebpf.CollectionSpec, error) {
	if from == probing {
		return loadProbing()
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
	loaded *ebpf.Program
	began  int64 // ns: when it was attached, not later
}

// attach puts the plan's programs in place, in order, but for those that wait
// for an MPTCP listener. What could not be attached although it is optional
// goes into the plan's limits; where an older carrier can stand in, the error is
// a refusedError.
func attach(p *Plan, l *loaded, fault func(*hook) error) ([]attached, error) {
	var links []attached
	for _, h := range p.hooks {
		if h.forMPTCP {
			continue
		}
		a, err := l.attachUnless(fault, p, h)
		switch {
		case err == nil:
			links = append(links, a)
		case errors.Is(err, errNeverCalled):
		case h.replaceable:
			return nil, errors.Join(&refusedError{h.symbol, err}, detach(links))
		case h.optional:
			p.Limits = append(p.Limits, fmt.Sprintf("%s cannot be attached (%v): %s", h.symbol, err, p.without(h.role)))
		default:
			return nil, errors.Join(fmt.Errorf("attach to %s: %w", h.symbol, err), detach(links))
		}
	}
	return links, nil
}

// errNeverCalled stands for a function that takes a program and never calls it.
var errNeverCalled = errors.New("left out, as if it were never called")

func (l *loaded) attachUnless(fault func(*hook) error, p *Plan, h hook) (attached, error) {
	if fault != nil {
		if err := fault(&h); err != nil {
			return attached{}, err
		}
	}
	return l.attach(p, h)
}

// attach puts one hook in place, by the first way that works; the error is that
// of the last one.
func (l *loaded) attach(p *Plan, h hook) (attached, error) {
	var last error
	for _, w := range append([]way{h.way}, h.others...) {
		prog := l.Programs[w.program]
		if p.apart(&h) {
			if prog, last = l.loadApart(p, w); last != nil {
				continue
			}
		}
		var lk link.Link
		began := monotonic()
		if lk, last = attachTo(h.symbol, w.kind, prog); last == nil {
			h.way = w
			return attached{h, lk, prog, began}, nil
		}
	}
	return attached{}, last
}

func attachTo(symbol string, k kind, prog *ebpf.Program) (link.Link, error) {
	switch k {
	case kprobe:
		return link.Kprobe(symbol, prog, nil)
	case kretprobe:
		return link.Kretprobe(symbol, prog, nil)
	default:
		return link.AttachTracing(link.TracingOptions{Program: prog})
	}
}

// entryFrom is since when those that enter the queues pass a hook, in ns; 0: they
// pass none.
func (p *Plan) entryFrom(links []attached) int64 {
	role := RoleEnqueue
	if p.Mode == Restricted {
		role = RoleState
	}
	for _, l := range links {
		if l.role == role {
			return l.began
		}
	}
	return 0
}

func detach(links []attached) error {
	var errs []error
	for _, l := range slices.Backward(links) {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
