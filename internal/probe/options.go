package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
)

// Options say what to trace and how much memory to use. The zero value traces
// everything in the best mode that works.
type Options struct {
	Mode    Mode          // to force one; empty: the best that works
	Filter  filter.Filter // PIDs and Comms take effect through SetHeld
	MinWait time.Duration // shorter accepted connections make no event
	// Kinds are the events to make; nil: all. Counts do not depend on it.
	Kinds []event.Kind
	// Frugal bounds what sampling takes in restricted mode to 1 % of a CPU: with
	// thousands of listeners waits are sampled more rarely.
	Frugal bool
	// RingSize is the size of the event buffer in bytes, rounded up to a power
	// of two pages; 0: 8 MiB.
	RingSize int
	// Listeners is how many listeners get counts of their own; 0: by how many
	// there are.
	Listeners int
	// Room is for how many listeners there is to be room at least, and for their
	// histograms, as long as Listeners does not say otherwise.
	Room int

	// addresses is how many local addresses get counts of their own; 0: by how
	// many listeners there are. Tests make it small.
	addresses int
	// fault says what befalls a hook instead of being attached: errNeverCalled
	// or, as if by the kernel, a refusal; nil: nothing. Tests use it.
	fault func(*hook) error
}

const (
	defaultRing = 8 << 20
	// histogramMemory bounds the histograms of all listeners together.
	histogramMemory   = 64 << 20
	defaultListeners  = 4096
	largestListeners  = 1 << 20
	defaultHistograms = 1024
	defaultAddresses  = 8192
)

// sizes are the numbers of entries of the maps that depend on the host.
type sizes struct {
	ring       uint32 // bytes
	listeners  uint32
	histograms uint32 // slots, the two reserved ones included
	addresses  uint32
	walkOnly   bool // a walk may fill the ring, as nothing else happens meanwhile
}

// chooseSizes makes room for twice the listeners that exist. It is pure.
func chooseSizes(o *Options, existing, pageSize int) sizes {
	ring := pageSize
	want := o.RingSize
	if want == 0 {
		want = defaultRing
	}
	for ring < want {
		ring *= 2
	}
	listeners := o.Listeners
	if listeners == 0 {
		listeners = max(defaultListeners, 2*existing, o.Room)
	}
	listeners = min(listeners, largestListeners)
	histograms := min(max(defaultHistograms, 2*existing, o.Room), listeners) + int(firstHistogram)
	histograms = min(histograms, histogramMemory/int(unsafe.Sizeof(tracingHistogram{})))
	addresses := o.addresses
	if addresses == 0 {
		addresses = min(max(defaultAddresses, 2*existing), mostCounted)
	}
	return sizes{ring: uint32(ring), listeners: uint32(listeners), histograms: uint32(histograms), addresses: uint32(addresses)}
}

// configure writes the options into the constants of the programs.
func configure(spec *ebpf.CollectionSpec, o *Options, size sizes, probeRead bool) error {
	f := &o.Filter
	// Of this a walk fills half.
	ring := uint64(size.ring)
	if size.walkOnly {
		ring *= 2
	}
	set := map[string]any{
		tracingVarCfgFilterOn:  flag(!reflect.ValueOf(*f).IsZero()),
		tracingVarCfgKinds:     kindBits(o.Kinds),
		tracingVarCfgMinWaitUs: uint64(o.MinWait.Microseconds()),
		tracingVarCfgRingSize:  ring,
		tracingVarCfgNetns:     f.NetNS,
		tracingVarCfgCgroup:    f.Cgroup,
		tracingVarCfgHeldOn:    flag(f.ByHolder()),
		tracingVarCfgProbeRead: flag(probeRead),
	}
	if len(f.Ports) > 0 {
		set[tracingVarCfgPortsOn] = flag(true)
		set[tracingVarCfgPorts] = portBits(f.Ports)
	}
	switch f.Family {
	case filter.IPv4:
		set[tracingVarCfgFamily] = uint8(unix.AF_INET)
	case filter.IPv6:
		set[tracingVarCfgFamily] = uint8(unix.AF_INET6)
	}
	if f.Addr.IsValid() {
		addr, mask := addrWords(f.Addr)
		set[tracingVarCfgAddrOn] = flag(true)
		set[tracingVarCfgAddr] = addr
		set[tracingVarCfgMask] = mask
	}
	for name, value := range set {
		v, ok := spec.Variables[name]
		if !ok {
			return fmt.Errorf("configure programs: no constant %s in the object", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("configure programs: set %s: %w", name, err)
		}
	}
	return nil
}

func flag(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

func kindBits(kinds []event.Kind) uint32 {
	if kinds == nil {
		return ^uint32(0)
	}
	// Walks and the end of a listener are what the state in user space is
	// built on, so they are always made.
	bits := uint32(1)<<event.Listener | 1<<event.Queued | 1<<event.ListenerClosed
	for _, k := range kinds {
		if k < 32 {
			bits |= 1 << k
		}
	}
	return bits
}

func portBits(ranges []filter.PortRange) [1024]uint64 {
	var bits [1024]uint64
	for _, r := range ranges {
		for p := int(r.First); p <= int(r.Last); p++ {
			bits[p>>6] |= 1 << (p & 63)
		}
	}
	return bits
}

// addrWords gives the prefix as four words in network order, IPv4 mapped into
// IPv6, as bpf/filter.bpf.h compares them.
func addrWords(p netip.Prefix) (addr, mask [4]uint32) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	a := p.Addr().As16()
	for i := range mask {
		var m [4]byte
		for b := range 32 {
			if i*32+b < bits {
				m[b/8] |= 0x80 >> (b % 8)
			}
		}
		mask[i] = binary.NativeEndian.Uint32(m[:])
		addr[i] = binary.NativeEndian.Uint32(a[i*4:]) & mask[i]
	}
	return addr, mask
}

var errClosed = errors.New("the tracer is closed")
