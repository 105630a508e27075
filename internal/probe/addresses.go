package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"acceptwatch/internal/listener"
)

// addressBook gives back the kernel's entries of addresses that have no
// listener any more, and keeps what they had counted: the kernel has room for
// some thousands, and a host can use many more in a day.
type addressBook struct {
	off      bool // which listeners there are is known from walks only
	capacity int  // entries in the kernel
	counted  map[tracingAddress]tracingAddressCounts
	// quiet are those that had no listener at the last sample, with their
	// counts then.
	quiet map[tracingAddress]tracingAddressCounts
	// raced are entries that were given back just when there was a listener
	// again: a death in between may be counted nowhere.
	raced uint64
}

// mostCounted bounds counted. Beyond it entries stay in the kernel, which says
// when it has no room.
const mostCounted = 1 << 17

func newAddressBook(capacity uint32) addressBook {
	return addressBook{
		capacity: int(capacity),
		counted:  map[tracingAddress]tracingAddressCounts{},
	}
}

// total is what was counted at the address since attach.
func (b *addressBook) total(k *tracingAddress, v tracingAddressCounts) tracingAddressCounts {
	had, ok := b.counted[*k]
	if !ok {
		return v
	}
	v.CloseWait += had.CloseWait
	v.Reset += had.Reset
	v.ResetAfterFin += had.ResetAfterFin
	v.Accepted += had.Accepted
	v.AcceptedDead += had.AcceptedDead
	v.Enqueued += had.Enqueued
	return v
}

// portOf is where a listener can take connections of an address: by its port, as
// it may be bound to all addresses.
type portOf struct {
	netns uint32
	port  uint16
}

// readAddresses adds the counts of all addresses to the sample, and then gives
// entries back if a quarter of the room is taken: those without a listener
// whose counts have stood still since the sample before.
func (c *counts) readAddresses(s *listener.Sample) error {
	b := &c.addresses
	err := c.eachAddress(func(k *tracingAddress, v *tracingAddressCounts) {
		total := b.total(k, *v)
		s.Addresses = append(s.Addresses, addressCounts(k, &total))
	})
	if err != nil || b.off || len(s.Addresses) <= b.capacity/4 {
		b.quiet = nil
		return err
	}
	open := map[portOf]bool{}
	for i := range s.Listeners {
		k := &s.Listeners[i].Key
		open[portOf{k.NetNS, k.Addr.Port()}] = true
	}
	var back []tracingAddress
	quiet := map[tracingAddress]tracingAddressCounts{}
	err = c.eachAddress(func(k *tracingAddress, v *tracingAddressCounts) {
		if open[portOf{k.Netns, k.Port}] {
			return
		}
		if before, ok := b.quiet[*k]; ok && before == *v {
			back = append(back, *k)
			return
		}
		quiet[*k] = *v
	})
	b.quiet = quiet
	if err != nil {
		return err
	}
	return c.giveBackAddresses(back)
}

// giveBackAddresses takes entries out of the kernel. What is counted in the
// microseconds between the two calls for one is lost, and a program that has looked
// the entry up before may count into the address that is given it next. Both take
// a connection of an address whose counts have stood still and whose port had no
// listener when the sample was made. Listeners that came since are told; what is
// not told are connections that are steered to another port's listener (TPROXY,
// sk_lookup), and listeners that have no entry. (LookupAndDelete would be one call,
// but is not for hash maps before Linux 5.14, and does not stop such programs.)
func (c *counts) giveBackAddresses(back []tracingAddress) error {
	b := &c.addresses
	// A listener that found no entry may be at any of these addresses.
	if full, err := c.listenersFull(); err != nil || full > 0 {
		return err
	}
	m := c.coll.Maps[tracingMapAddresses]
	given := map[portOf]bool{}
	for i := range back {
		k := &back[i]
		if _, again := b.counted[*k]; !again && len(b.counted) >= mostCounted {
			continue
		}
		var v tracingAddressCounts
		err := m.Lookup(k, &v)
		if err == nil {
			err = m.Delete(k)
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("give back the entry of an address: %w", err)
		}
		b.counted[*k] = b.total(k, v)
		given[portOf{k.Netns, k.Port}] = true
	}
	if len(given) == 0 {
		return nil
	}
	full, err := c.listenersFull()
	if err != nil {
		return err
	}
	b.raced += full
	came := func(netns uint32, port uint16) {
		if given[portOf{netns, port}] {
			b.raced++
		}
	}
	closed := len(c.closed)
	if err := c.takeClosed(); err != nil {
		return err
	}
	for i := range c.closed[closed:] {
		k := &c.closed[closed+i].Key
		came(k.NetNS, k.Addr.Port())
	}
	return c.eachListener(func(l *tracingListener) error {
		came(l.Netns, l.Port)
		return nil
	})
}

// listenersFull is how often a listener found no entry.
func (c *counts) listenersFull() (uint64, error) {
	var kernel [tracingLossLOSS_KINDS]uint64
	if err := c.coll.Variables[tracingVarLosses].Get(&kernel); err != nil {
		return 0, fmt.Errorf("read the kernel's count of losses: %w", err)
	}
	return kernel[tracingLossLOSS_LISTENERS_FULL], nil
}
