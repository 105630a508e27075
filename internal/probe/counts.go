package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/listener"
)

const (
	firstHistogram  = uint32(tracingHistogramSlotFIRST_HISTOGRAM)
	sharedHistogram = uint32(tracingHistogramSlotSHARED_HISTOGRAM)

	// harvestEvery bounds how much a bucket's 32 bits count between two reads:
	// they would have to go round once to lose anything.
	harvestEvery = 10 * time.Minute

	batch = 512 // entries of a map read by one system call
)

// counts reads what the kernel counts. Counts in the kernel only grow; those
// of a closed listener are taken out once and handed over once.
type counts struct {
	coll         *ebpf.Collection
	entries      *ebpf.Memory // of listeners, an array
	onlyQueueAdd bool         // both carriers see the same connections
	unproven     bool         // perhaps they do
	waits        map[uint64]*harvested
	shared       *harvested
	harvestedAt  time.Time
	closed       []listener.Counted // taken out, not yet handed over
	addresses    addressBook
	most         int // listeners of the last sample: the next one has about as many

	// buffers of batched reads
	keys       []tracingAddress
	atAddress  []tracingAddressCounts
	histograms tracingHistogram
}

// harvested is the histogram of a listener, free of the kernel's 32 bits.
type harvested struct {
	last  tracingHistogram
	total listener.Histogram
}

func newCounts(coll *ebpf.Collection) (counts, error) {
	entries, err := coll.Maps[tracingMapEntries].Memory()
	if err != nil {
		return counts{}, fmt.Errorf("map the counts of listeners into memory: %w", err)
	}
	return counts{
		coll:        coll,
		entries:     entries,
		waits:       map[uint64]*harvested{},
		shared:      &harvested{},
		harvestedAt: time.Now(),
		addresses:   newAddressBook(coll.Maps[tracingMapAddresses].MaxEntries()),
		keys:        make([]tracingAddress, batch),
		atAddress:   make([]tracingAddressCounts, batch),
	}, nil
}

// read takes a sample without losses.
func (c *counts) read(waits bool) (*listener.Sample, error) {
	s := &listener.Sample{Time: monotonic(), Listeners: make([]listener.Counted, 0, c.most+c.most/16)}
	if time.Since(c.harvestedAt) > harvestEvery {
		waits = true
	}
	if waits {
		c.harvestedAt = time.Now()
		if _, err := c.harvest(c.shared, sharedHistogram); err != nil {
			return nil, err
		}
	}
	err := c.eachListener(func(l *tracingListener) error {
		counted := c.counted(l)
		if waits && l.Histogram != 0 {
			if err := c.addWaits(&counted, l); err != nil {
				return err
			}
		}
		s.Listeners = append(s.Listeners, counted)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.takeClosed(); err != nil {
		return nil, err
	}
	s.Listeners = append(s.Listeners, c.closed...)
	c.closed = nil
	c.most = len(s.Listeners)
	if err := c.readAddresses(s); err != nil {
		return nil, err
	}
	if err := c.addOthers(s, waits); err != nil {
		return nil, err
	}
	withoutCanary(s)
	return s, nil
}

func (c *counts) counted(l *tracingListener) listener.Counted {
	enqueued := l.EnqueuedQueueAdd + l.EnqueuedHashdance
	switch {
	case c.onlyQueueAdd:
		enqueued = l.EnqueuedQueueAdd
	case c.unproven:
		enqueued = max(l.EnqueuedQueueAdd, l.EnqueuedHashdance)
	}
	full := l.Full
	if l.FullSince != 0 {
		full += uint64(max(0, monotonic()-int64(l.FullSince)))
	}
	return listener.Counted{
		ID:                l.Id,
		Key:               listener.Key{NetNS: l.Netns, Addr: netip.AddrPortFrom(addrOf(l.Family, l.Addr), l.Port), Ifindex: l.Ifindex},
		Family:            l.Family,
		V6Only:            l.V6only != 0,
		Inode:             l.Inode,
		Depth:             l.Depth,
		Backlog:           l.Backlog,
		Enqueued:          enqueued,
		Accepted:          l.Accepted,
		AcceptedCloseWait: l.AcceptedCloseWait,
		AcceptedReset:     l.AcceptedReset,
		Purged:            l.Purged,
		PurgedDead:        l.PurgedDead,
		MigratedIn:        l.MigratedIn,
		MigratedOut:       l.MigratedOut,
		OverflowSYN:       l.OverflowSyn,
		OverflowACK:       l.OverflowAck,
		MaxDepth:          l.MaxDepth,
		Full:              time.Duration(full),
		LastAccept:        int64(l.LastAccept),
		NonEmptySince:     int64(l.NonemptySince),
		MaxWait:           int64(l.MaxWait) * 1000,
		Folded:            l.Histogram == sharedHistogram,
	}
}

// addWaits reads the listener's histogram, or refers it to the shared one.
func (c *counts) addWaits(counted *listener.Counted, l *tracingListener) error {
	if l.Histogram == sharedHistogram {
		counted.Waits = &c.shared.total
		return nil
	}
	h := c.waits[l.Id]
	if h == nil {
		h = &harvested{}
		c.waits[l.Id] = h
	}
	total, err := c.harvest(h, l.Histogram)
	counted.Waits = total
	// Two CPUs can overwrite each other's greatest wait; the histogram knows
	// at least its bucket.
	for i := len(h.last.Buckets) - 1; i >= 0; i-- {
		if h.last.Buckets[i] > 0 {
			lowest, _ := listener.BucketBounds(i)
			counted.MaxWait = max(counted.MaxWait, int64(lowest)*1000)
			break
		}
	}
	return err
}

func (c *counts) harvest(h *harvested, slot uint32) (*listener.Histogram, error) {
	if err := c.coll.Maps[tracingMapHistograms].Lookup(slot, &c.histograms); err != nil {
		return nil, fmt.Errorf("read histogram %d: %w", slot, err)
	}
	var added [len(h.last.Buckets)]uint32
	for i, now := range c.histograms.Buckets {
		added[i] = now - h.last.Buckets[i]
	}
	h.last = c.histograms
	h.total.AddBuckets(added[:])
	return &h.total, nil
}

// takeClosed takes out the last counts of listeners that closed, and gives
// their histograms back.
func (c *counts) takeClosed() error {
	for {
		var l tracingListener
		err := c.coll.Maps[tracingMapClosed].LookupAndDelete(nil, &l)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read closed listeners: %w", err)
		}
		if err := c.close(&l); err != nil {
			return err
		}
	}
}

// close keeps the last counts of a listener to be handed over, and gives its
// histogram back.
func (c *counts) close(l *tracingListener) error {
	counted := c.counted(l)
	counted.Closed = true
	if l.Histogram != 0 {
		if err := c.addWaits(&counted, l); err != nil {
			return err
		}
	}
	if l.Histogram >= firstHistogram {
		if err := c.giveBack(l.Histogram); err != nil {
			return err
		}
	}
	delete(c.waits, l.Id)
	c.closed = append(c.closed, counted)
	return nil
}

func (c *counts) giveBack(slot uint32) error {
	if err := c.coll.Maps[tracingMapHistograms].Put(slot, &tracingHistogram{}); err != nil {
		return fmt.Errorf("clear histogram %d: %w", slot, err)
	}
	if err := c.coll.Maps[tracingMapFreeHistograms].Put(nil, slot); err != nil {
		return fmt.Errorf("give back histogram %d: %w", slot, err)
	}
	return nil
}

// addOthers adds what has no entry of its own, under the ID 0.
func (c *counts) addOthers(s *listener.Sample, waits bool) error {
	var others tracingListener
	if err := c.coll.Variables[tracingVarOthers].Get(&others); err != nil {
		return fmt.Errorf("read counts of listeners without an entry: %w", err)
	}
	if others != (tracingListener{}) {
		counted := c.counted(&others)
		if waits && others.Histogram != 0 {
			if err := c.addWaits(&counted, &others); err != nil {
				return err
			}
		}
		s.Listeners = append(s.Listeners, counted)
	}
	var at tracingAddressCounts
	if err := c.coll.Variables[tracingVarOtherAddresses].Get(&at); err != nil {
		return fmt.Errorf("read counts of addresses without an entry: %w", err)
	}
	if at != (tracingAddressCounts{}) {
		s.Addresses = append(s.Addresses, addressCounts(&tracingAddress{}, &at))
	}
	return nil
}

// canary adds up what the canary's connections left in the maps so far.
func (c *counts) canary() (fired, error) {
	var f fired
	err := c.eachListener(func(l *tracingListener) error {
		if isCanary(addrOf(l.Family, l.Addr)) {
			f.accepted += l.Accepted
			f.hashdance += l.EnqueuedHashdance
			f.queueAdd += l.EnqueuedQueueAdd
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	err = c.eachAddress(func(k *tracingAddress, v *tracingAddressCounts) {
		if isCanary(addrOf(k.Family, k.Addr)) {
			f.closeWait += v.CloseWait
			f.reset += v.Reset
		}
	})
	if err != nil {
		return f, err
	}
	if err := c.takeClosed(); err != nil {
		return f, err
	}
	for _, l := range c.closed {
		if isCanary(l.Key.Addr.Addr()) {
			f.closed++
		}
	}
	return f, nil
}

func addressCounts(k *tracingAddress, v *tracingAddressCounts) listener.AtAddress {
	return listener.AtAddress{
		Key:           listener.Key{NetNS: k.Netns, Addr: netip.AddrPortFrom(addrOf(k.Family, k.Addr), k.Port), Ifindex: k.Ifindex},
		CloseWait:     v.CloseWait,
		Reset:         v.Reset,
		ResetAfterFIN: v.ResetAfterFin,
		Accepted:      v.Accepted,
		AcceptedDead:  v.AcceptedDead,
		Enqueued:      v.Enqueued,
	}
}

func addrOf(family uint8, raw [16]uint8) netip.Addr {
	switch family {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(raw[:4]))
	case unix.AF_INET6:
		return netip.AddrFrom16(raw)
	default:
		return netip.Addr{}
	}
}

// monotonic is the clock of events, ns.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("read the monotonic clock: " + err.Error()) // cannot fail for a valid clock
	}
	return ts.Nano()
}
