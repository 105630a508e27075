package probe

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// eachListener calls fn for every listener that has an entry, which is valid until fn
// returns. Entries that come and go meanwhile may be missed or seen, never twice; one
// that closes is for a moment neither here nor among the closed. It
// goes through all slots in the memory that is shared with the kernel: to ask for one
// after the other, by a hash map's order, took several times as long.
func (c *counts) eachListener(fn func(*tracingListener) error) error {
	var (
		l      tracingListener
		size   = int64(unsafe.Sizeof(l))
		end    = size * int64(c.coll.Maps[tracingMapEntries].MaxEntries())
		whole  = unsafe.Slice((*byte)(unsafe.Pointer(&l)), size)
		socket = whole[unsafe.Offsetof(l.Socket):][:unsafe.Sizeof(l.Socket)]
	)
	for at := firstEntry * size; at < end; at += size {
		if _, err := c.entries.ReadAt(socket, at+int64(unsafe.Offsetof(l.Socket))); err != nil {
			return fmt.Errorf("read an entry of listeners: %w", err)
		}
		if l.Socket == 0 {
			continue
		}
		if _, err := c.entries.ReadAt(whole, at); err != nil {
			return fmt.Errorf("read an entry of listeners: %w", err)
		}
		if l.Socket == 0 || l.Listed == 0 { // it closes, or is being made
			continue
		}
		if err := fn(&l); err != nil {
			return err
		}
	}
	return nil
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
