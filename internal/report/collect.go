package report

import (
	"encoding/json"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// Bounds of what is kept.
const (
	maxPlaces   = 2048 // bound addresses with a timeline
	maxQueues   = 1 << 16
	mostStalls  = 500
	mostLongest = 50
	mostWhy     = 200 // diagnoses
	mostDamage  = 16
	maxClocks   = 4096
	maxInodes   = 1 << 16
)

// collector makes a Report of records.
type collector struct {
	report Report
	table  *listener.Table
	base   *listener.Baseline // counts begin there; nil: at the beginning
	span
	axis    axis
	begun   bool
	emit    func(*event.Event)
	places  map[listener.Key]*place
	queues  map[uint64]*queue
	recent  listener.Recent[queue] // of queues
	crowded uint64                 // events at places that have no timeline

	total          series // its counts of events are those of all places, added up at the end
	nowhere        series // counts of events at places that have no timeline
	depth, backlog uint32 // sums over all queues
	patience       patience

	owners map[uint32][]recording.Owner
	held   map[listener.Key][]recording.Held
	lost   []listener.Loss // on the way to the file
	more   bool            // the owners of a moment are not all in yet
	listed map[uint32]bool // the inodes of owners that are, of this moment
}

func newCollector(h *recording.Header, o Options) *collector {
	c := &collector{
		places: make(map[listener.Key]*place),
		queues: make(map[uint64]*queue),
		owners: make(map[uint32][]recording.Owner),
		held:   make(map[listener.Key][]recording.Held),
		listed: make(map[uint32]bool),
	}
	if h != nil {
		c.report.Header = *h
	}
	c.report.StallAfter = o.StallAfter
	if c.report.StallAfter <= 0 {
		c.report.StallAfter = time.Second
		if set, err := time.ParseDuration(c.report.Header.Settings[recording.SettingStallAfter]); err == nil && set > 0 {
			c.report.StallAfter = set
		}
	}
	c.clock(c.report.Header.Clock)
	// Until something with a time comes.
	c.report.Start, c.report.End = c.report.Header.Clock.Monotonic, c.report.Header.Clock.Monotonic
	start := c.report.Header.Start
	if c.report.Header.Partial() {
		start = 0 // who died before its beginning is not of it
	}
	var selected filter.Filter // of none that can be understood: as if all were
	_ = json.Unmarshal([]byte(c.report.Header.Settings[recording.SettingFilter]), &selected)
	c.table = listener.New(listener.Options{
		StallAfter: c.report.StallAfter, Start: start, Sampled: c.report.Header.Mode == listener.Restricted,
		ByHolder: selected.ByHolder(),
	})
	c.emit = c.derived
	return c
}

// clock notes a reading of the clocks, if it says something new: a drift of
// less than a millisecond is none.
func (c *collector) clock(at recording.Clock) {
	all := c.report.Clocks
	if len(all) > 0 {
		was := all[len(all)-1]
		off := at.Wall - at.Monotonic - (was.Wall - was.Monotonic)
		if max(off, -off) < int64(time.Millisecond) || len(all) >= maxClocks {
			return
		}
	}
	c.report.Clocks = append(all, at)
}

// see notes a time and gives its column.
func (c *collector) see(at int64) int {
	if !c.begun {
		c.begun = true
		c.axis = newAxis(at)
		c.report.Start, c.report.End = at, at
	}
	c.report.End = max(c.report.End, at)
	if factor := c.axis.widen(at); factor > 1 {
		c.total.merge(factor)
		c.nowhere.merge(factor)
		for _, p := range c.places {
			p.series.merge(factor)
		}
	}
	return c.axis.at(at)
}

func (c *collector) take(rec *recording.Record) {
	switch rec.Kind {
	case recording.KindEvent:
		c.event(rec.Event)
	case recording.KindSample:
		c.sample(rec.Sample)
	case recording.KindMark:
		c.see(rec.Mark.Time)
	case recording.KindClock:
		c.clock(rec.Clock)
	case recording.KindOwners:
		c.owned(rec.Owners)
	case recording.KindEvidence:
		c.diagnosed(rec.Evidence)
	case recording.KindLosses:
		c.lost = rec.Losses
	case recording.KindDamage:
		f := &c.report.Flaws
		if f.Damages++; len(f.Damage) < mostDamage {
			f.Damage = append(f.Damage, rec.Damage)
		}
	}
}
