package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// eachListener calls fn for every listener that has an entry. Entries that
// come and go meanwhile may be missed or seen, never twice.
func (c *counts) eachListener(fn func(*tracingListener) error) error {
	return eachBatch(c.coll.Maps[tracingMapListeners], c.sockets, c.listeners, func(_ *uint64, l *tracingListener) error {
		return fn(l)
	})
}

// eachSocket is eachListener with the address of the kernel's socket.
func (c *counts) eachSocket(fn func(socket uint64, l *tracingListener) error) error {
	return eachBatch(c.coll.Maps[tracingMapListeners], c.sockets, c.listeners, func(socket *uint64, l *tracingListener) error {
		return fn(*socket, l)
	})
}

func (c *counts) eachAddress(fn func(*tracingAddress, *tracingAddressCounts)) error {
	return eachBatch(c.coll.Maps[tracingMapAddresses], c.keys, c.atAddress, func(k *tracingAddress, v *tracingAddressCounts) error {
		fn(k, v)
		return nil
	})
}

// eachBatch reads a hash map by batches (Linux 5.6). A batch ends at the end of
// a bucket; one that does not hold a whole bucket is refused with ENOSPC, so
// the buffers must be larger than any bucket gets.
func eachBatch[K, V any](m *ebpf.Map, keys []K, values []V, fn func(*K, *V) error) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("read map %s: %w", m, err)
		}
		for i := range n {
			if err := fn(&keys[i], &values[i]); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}
