package metrics

import (
	"time"

	"acceptwatch/internal/listener"
)

// counts are what only grows.
type counts struct {
	enqueued, accepted, acceptedDead uint64
	closeWait, reset, dead           uint64
	overflowSYN, overflowACK         uint64
	purged, migratedIn, migratedOut  uint64
	full                             time.Duration
	errors                           map[uint16]uint64 // by errno
}

func countsOf(r *listener.Row) counts {
	return counts{
		enqueued: r.Enqueued, accepted: r.Accepted, acceptedDead: r.AcceptedDead,
		closeWait: r.CloseWait, reset: r.Reset, dead: r.Dead(),
		overflowSYN: r.OverflowSYN, overflowACK: r.OverflowACK,
		purged: r.Purged, migratedIn: r.MigratedIn, migratedOut: r.MigratedOut,
		full: r.Full, errors: errorsOf(r.AcceptErrors),
	}
}

func errorsOf(all []listener.AcceptFailures) map[uint16]uint64 {
	if len(all) == 0 {
		return nil
	}
	errors := make(map[uint16]uint64)
	for i := range all {
		errors[all[i].Errno] += all[i].Count
	}
	return errors
}

// each calls fn with every count of c but for full and errors, beside that of o.
func (c *counts) each(o *counts, fn func(*uint64, uint64)) {
	fn(&c.enqueued, o.enqueued)
	fn(&c.accepted, o.accepted)
	fn(&c.acceptedDead, o.acceptedDead)
	fn(&c.closeWait, o.closeWait)
	fn(&c.reset, o.reset)
	fn(&c.dead, o.dead)
	fn(&c.overflowSYN, o.overflowSYN)
	fn(&c.overflowACK, o.overflowACK)
	fn(&c.purged, o.purged)
	fn(&c.migratedIn, o.migratedIn)
	fn(&c.migratedOut, o.migratedOut)
}

func (c *counts) add(o *counts) {
	c.each(o, func(to *uint64, n uint64) { *to += n })
	c.full += o.full
	c.addErrors(o.errors)
}

func (c *counts) addErrors(errors map[uint16]uint64) {
	for errno, n := range errors {
		if c.errors == nil {
			c.errors = make(map[uint16]uint64)
		}
		c.errors[errno] += n
	}
}

func (c *counts) zero() bool {
	n := uint64(c.full)
	c.each(&counts{}, func(count *uint64, _ uint64) { n |= *count })
	return n == 0 && len(c.errors) == 0
}

// since is how much the counts have grown.
func (c counts) since(was *counts) counts {
	c.each(was, func(to *uint64, before uint64) { *to = listener.Grown(*to, before) })
	c.full = max(c.full, was.full) - was.full
	c.errors = errorsSince(c.errors, was.errors)
	return c
}

func errorsSince(errors, was map[uint16]uint64) map[uint16]uint64 {
	var since map[uint16]uint64
	for errno, n := range errors {
		if n = listener.Grown(n, was[errno]); n > 0 {
			if since == nil {
				since = make(map[uint16]uint64)
			}
			since[errno] = n
		}
	}
	return since
}
