package cli

import "time"

// wallClock turns CLOCK_MONOTONIC into the time of day. The two drift apart
// when somebody sets the clock, so the offset is taken again now and then.
type wallClock struct {
	env    *environment
	offset int64 // ns: wall less monotonic
	taken  int64 // ns, monotonic
	zone   *time.Location
}

const takeOffsetEvery = int64(time.Second)

func newWallClock(env *environment) *wallClock {
	c := &wallClock{env: env, zone: env.now().Location()}
	c.take()
	return c
}

// take reads both clocks, the monotonic one on both sides of the other.
func (c *wallClock) take() {
	before := c.env.monotonic()
	wall := c.env.now().UnixNano()
	after := c.env.monotonic()
	c.offset, c.taken = wall-(before+(after-before)/2), after
}

// refresh takes the offset again if it is old.
func (c *wallClock) refresh(now int64) {
	if now-c.taken >= takeOffsetEvery {
		c.take()
	}
}

// at is the time of day at a time of CLOCK_MONOTONIC, in ns.
func (c *wallClock) at(ns int64) time.Time { return time.Unix(0, ns+c.offset).In(c.zone) }
