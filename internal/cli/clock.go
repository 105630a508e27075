package cli

import (
	"time"

	"acceptwatch/internal/recording"
)

// wallClock turns CLOCK_MONOTONIC into the time of day. The two drift apart
// when somebody sets the clock, so their relation is taken again now and then.
type wallClock struct {
	env  *environment
	now  recording.Clock
	zone *time.Location
}

const takeOffsetEvery = int64(time.Second)

func newWallClock(env *environment) *wallClock {
	c := &wallClock{env: env, zone: env.now().Location()}
	c.now = c.read()
	return c
}

// read reads both clocks, the monotonic one on both sides of the other.
func (c *wallClock) read() recording.Clock {
	before := c.env.monotonic()
	wall := c.env.now().UnixNano()
	after := c.env.monotonic()
	return recording.Clock{Monotonic: before + (after-before)/2, Wall: wall}
}

// old says that the relation was taken a while ago.
func (c *wallClock) old(now int64) bool { return now-c.now.Monotonic >= takeOffsetEvery }

func (c *wallClock) set(now recording.Clock) { c.now = now }

// at is the time of day at a time of CLOCK_MONOTONIC, in ns.
func (c *wallClock) at(ns int64) time.Time { return c.now.At(ns).In(c.zone) }
