package owner

import (
	"sync"
	"time"
)

// Cache keeps who owns a changing set of sockets, without scanning /proc more
// often than once an interval. It is safe for concurrent use.
type Cache struct {
	scan     func(map[uint32]struct{}) (map[uint32][]Process, Report, error)
	interval time.Duration
	now      func() time.Time

	mu      sync.Mutex
	last    time.Time // zero: never
	asked   map[uint32]struct{}
	found   map[uint32][]Process
	report  Report
	lastErr error
}

// NewCache makes an empty cache. now is the clock, time.Now outside of tests.
func NewCache(s Scanner, interval time.Duration, now func() time.Time) *Cache {
	return &Cache{scan: s.Scan, interval: interval, now: now}
}

// Refresh scans for these sockets, if the last scan began an interval ago or
// more, and says whether it did. The result of a scan replaces all that was
// known: a socket that nobody was found to hold stays without an owner, and one
// that was not asked for stays unknown, until the next scan. After an error the
// previous result is kept, and the next scan is an interval later too.
func (c *Cache) Refresh(inodes map[uint32]struct{}) (scanned bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	now := c.now()
	if !c.last.IsZero() && now.Sub(c.last) < c.interval {
		return false, c.lastErr
	}
	c.last = now
	found, report, err := c.scan(inodes)
	c.lastErr = err
	if err != nil {
		return true, err
	}
	c.found, c.report = found, report
	c.asked = make(map[uint32]struct{}, len(inodes))
	for inode := range inodes {
		c.asked[inode] = struct{}{}
	}
	return true, nil
}

// Owners returns who held the socket at the last scan, as a slice that must not
// be changed. known is false if that scan was not asked about it. No owners and
// known: nobody that could be inspected holds it; see Report.
func (c *Cache) Owners(inode uint32) (owners []Process, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known = c.asked[inode]
	return c.found[inode], known
}

// Report is that of the last scan that succeeded.
func (c *Cache) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}
