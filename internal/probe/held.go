package probe

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Held is a listening socket of a process that was asked for by Filter.PIDs or
// Filter.Comms.
type Held struct {
	Inode uint32
	NetNS uint32
	Port  uint16
}

// SetHeld makes these the listeners that are traced. Call it at the start and
// whenever the processes' sockets may have changed.
func (t *Tracer) SetHeld(sockets []Held) error {
	inodes := map[uint32]bool{}
	ports := map[tracingHeldPort]bool{}
	for _, s := range sockets {
		inodes[s.Inode] = true
		ports[tracingHeldPort{Netns: s.NetNS, Port: uint32(s.Port)}] = true
	}
	if err := replaceKeys(t.coll.Maps[tracingMapHeld], inodes); err != nil {
		return err
	}
	return replaceKeys(t.coll.Maps[tracingMapHeldPorts], ports)
}

// replaceKeys makes the keys of a set in the kernel equal to those wanted.
func replaceKeys[K comparable](m *ebpf.Map, wanted map[K]bool) error {
	var key K
	var value uint8
	var stale []K
	it := m.Iterate()
	for it.Next(&key, &value) {
		if !wanted[key] {
			stale = append(stale, key)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read map %s: %w", m, err)
	}
	for key := range wanted {
		if err := m.Put(key, uint8(1)); err != nil {
			return fmt.Errorf("add to map %s: %w; trace fewer processes at a time", m, err)
		}
	}
	for _, key := range stale {
		if err := m.Delete(key); err != nil {
			return fmt.Errorf("remove from map %s: %w", m, err)
		}
	}
	return nil
}
