package report

import (
	"fmt"
	"net/netip"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// owned takes who had what open.
func (c *collector) owned(o *recording.Owners) {
	c.see(o.Time)
	if !c.more {
		clear(c.listed)
	}
	for _, p := range o.Listening {
		_, known := c.owners[p.Inode]
		if p.Inode == 0 || !known && len(c.owners) >= maxInodes {
			continue
		}
		if !c.listed[p.Inode] { // who held it before may not any more
			c.listed[p.Inode] = true
			c.owners[p.Inode] = nil
		}
		c.owners[p.Inode] = append(c.owners[p.Inode], p)
	}
	if o.HeldKnown {
		if !c.more {
			clear(c.held)
		}
		c.report.HeldKnown = true
		for _, h := range o.Held {
			if key, ok := c.placeOfHeld(&h); ok {
				c.held[key] = append(c.held[key], h)
			}
		}
	}
	c.more = o.More
	if o.More {
		return
	}
	if o.Scan == nil && len(o.Missing) == 0 {
		return // nobody looked: it is told again
	}
	c.report.Notes = append([]string(nil), o.Missing...)
	if s := o.Scan; s != nil && s.Denied+s.Failed > 0 {
		c.report.Notes = append(c.report.Notes, fmt.Sprintf("owners may be missing: %d of %d processes could not be inspected",
			s.Denied+s.Failed, s.Processes))
	}
}

// placeOfHeld is the bound address that an accepted connection came to.
func (c *collector) placeOfHeld(h *recording.Held) (listener.Key, bool) {
	local, err := netip.ParseAddrPort(h.Local)
	if err != nil {
		return listener.Key{}, false
	}
	at, ok := c.table.Resolve(&event.Event{NetNS: h.NetNS, Local: local, Ifindex: h.Ifindex})
	return at.Key, ok
}
