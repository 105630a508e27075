package probe

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// firstEntry is the first slot that a listener gets.
const firstEntry = 1

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

// forget takes out the entries of listeners that are gone without a hook having
// seen it.
func (c *counts) forget(w *walks) error {
	if !w.news {
		return nil
	}
	w.news = false
	var gone []tracingListener
	err := c.eachListener(func(l *tracingListener) error {
		if w.missed(l) {
			gone = append(gone, *l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range gone {
		l, err := c.takeOut(&gone[i])
		if err != nil {
			return fmt.Errorf("forget a closed listener: %w", err)
		}
		if l == nil {
			continue // it was seen after all
		}
		if err := c.coll.Maps[tracingMapHistogramOf].Delete(l.Id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget whose histogram it was: %w", err)
		}
		l.Depth = 0
		if err := c.close(l); err != nil {
			return err
		}
	}
	return nil
}

// takeOut gives an entry back that was seen before, and its last counts; nil if it is
// there no more.
func (c *counts) takeOut(seen *tracingListener) (*tracingListener, error) {
	var slot uint32
	l := new(tracingListener)
	err := c.coll.Maps[tracingMapListeners].Lookup(seen.Socket, &slot)
	if err == nil {
		err = c.coll.Maps[tracingMapEntries].Lookup(slot, l)
	}
	if err == nil && l.Id != seen.Id {
		return nil, nil
	}
	// To look it up and to take it out at once is not for hash maps before Linux 5.14.
	// Whoever takes it out has the slot.
	if err == nil {
		err = c.coll.Maps[tracingMapListeners].Delete(seen.Socket)
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err == nil {
		err = c.coll.Maps[tracingMapEntries].Put(slot, &tracingListener{})
	}
	if err == nil {
		err = c.coll.Maps[tracingMapFreeEntries].Put(nil, slot)
	}
	return l, err
}
