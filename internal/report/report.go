package report

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// Report is what a trace tells.
type Report struct {
	Header     recording.Header
	StallAfter time.Duration // after which a queue that nobody empties is stalled
	Start, End int64         // ns, CLOCK_MONOTONIC: the first and the last time in the trace
	Empty      bool          // there is no time in the trace: both are that of its header
	Cut        bool          // the trace goes on after End, of which the report tells nothing
	Clocks     []recording.Clock
	Events     uint64 // recorded, but for those of walks

	Listeners []Listener // the worst first
	// AcceptErrors are failed accepts at listeners that are not known, the
	// most failures first.
	AcceptErrors []listener.AcceptFailures
	Total        Timeline // of all listeners
	Patience     Patience // at all listeners
	Stalls       []Stall  // the longest first
	StallCount   uint64   // the shortest of these may not be in Stalls
	Longest      []Wait   // the longest waits, the longest first
	// Diagnoses are of stalls, in the order in which they began.
	Diagnoses []Diagnosis
	HeldKnown bool // somebody looked for accepted connections in CLOSE_WAIT

	Losses []listener.Loss // in the kernel, in the state, and on the way to the file
	Flaws  Flaws
	Notes  []string // on what could not be found out, a sentence each
}

// Listener is a bound address: the listeners that were open on it.
type Listener struct {
	ui.Listener
	Threads []string // what the threads of its owners were doing when somebody looked last
	// Timeline has no columns if nothing happened, or there were too many
	// listeners.
	Timeline Timeline
	Patience Patience
	// Recorded is how many of Accepted were recorded one by one, which the
	// Timeline is of.
	Recorded uint64
	// OwnWaits says that Wait is of the recorded events, within 12 %, because the
	// trace has no histogram of all.
	OwnWaits bool
}

// Stall is a time in which a queue had entries and nobody accepted.
type Stall struct {
	Key      listener.Key
	ID       uint64 // of the listener
	From, To int64  // ns, CLOCK_MONOTONIC
	Ended    event.Ending
	By       Who // who ended it by an accept, or nobody
	Before   Who // who accepted last before it; nobody: not known, or not read (see recording.Lead)
	// Why accept() failed most often since the last accept when the stall was
	// noticed, or else why it failed first after that; Errno 0: it did not fail, or
	// it was not called.
	Errno   uint16
	Failing Who
	Failed  uint64 // recorded calls, of all processes, from the last accept on
	// Diagnosis is why nobody accepted; nil: nobody looked, or not for long enough.
	Diagnosis *Diagnosis
	Depth     uint32 // the greatest
	Backlog   uint32
	Dead      uint64 // clients that gave up in it, those found dead at the beginning included
	Overflow  uint64 // refusals in it
}

// Length is how long the stall was.
func (s *Stall) Length() time.Duration { return time.Duration(s.To - s.From) }

// Diagnosis is why nobody accepted in a stall, as the evidence of then says.
type Diagnosis struct {
	Evidence *diagnose.Evidence
	Verdicts []diagnose.Verdict // the likeliest first; at least one
}

// Who is a thread; PID 0: nobody.
type Who struct {
	PID, TID uint32 // TID 0: any
	Comm     event.Comm
}

// Wait is a connection that waited long.
type Wait struct {
	event.Event // Accepted or Purged
	Listener    listener.Key
	Length      time.Duration
}

// Flaws is what is wrong with the file.
type Flaws struct {
	Damage  []*recording.CorruptError // the first ones
	Damages uint64                    // all of them
	Skipped int                       // records of a later version of the format
	Torn    *recording.TornError      // it has no end
}

// Length is the time that the trace covers.
func (r *Report) Length() time.Duration { return time.Duration(r.End - r.Start) }

// At is the time of day at a time of CLOCK_MONOTONIC, in ns, by the clock
// reading before it; in UTC.
func (r *Report) At(ns int64) time.Time {
	i := sort.Search(len(r.Clocks), func(i int) bool { return r.Clocks[i].Monotonic > ns })
	return r.Clocks[max(0, i-1)].At(ns)
}

// Sum is the totals of all listeners.
type Sum struct {
	Listeners                                  int
	Accepted, Dead, AcceptedDead, Purged       uint64
	AtLeast                                    bool   // there may be more than Accepted
	Seen                                       uint64 // of Accepted, those that a look had caught (listener.Row)
	CloseWait, Reset                           uint64
	Overflow, OverflowSYN, OverflowACK, Failed uint64
	Recorded, Queued, Held                     uint64
	Stalled                                    time.Duration // the sum over listeners
	Waits                                      *listener.Histogram
}

// Sum adds up all listeners, and the failed accepts at unknown ones.
func (r *Report) Sum() Sum {
	s := Sum{Listeners: len(r.Listeners), Waits: new(listener.Histogram)}
	seen := make(map[*listener.Histogram]bool) // one may be shared
	for i := range r.Listeners {
		l := &r.Listeners[i]
		s.Accepted += l.Accepted
		s.Seen += l.Seen
		s.AtLeast = s.AtLeast || l.AtLeast
		s.Dead += l.Dead()
		s.AcceptedDead += l.AcceptedDead
		s.Purged += l.Purged
		s.CloseWait += l.CloseWait
		s.Reset += l.Reset
		s.OverflowSYN += l.OverflowSYN
		s.OverflowACK += l.OverflowACK
		s.Failed += l.Failed()
		s.Recorded += l.Recorded
		s.Queued += uint64(l.Depth)
		s.Stalled += l.Stalled
		for _, h := range l.Held {
			s.Held += uint64(h.Sockets)
		}
		if h := l.Wait.Histogram; h != nil && !seen[h] {
			seen[h] = true
			s.Waits.Merge(h)
		}
	}
	s.Overflow = s.OverflowSYN + s.OverflowACK
	for i := range r.AcceptErrors {
		s.Failed += r.AcceptErrors[i].Count
	}
	return s
}

// quantiles says that those of Wait are of all accepted connections, and not of
// those that a look caught.
func (l *Listener) quantiles() bool {
	return l.Wait.Count > 0 && (!l.Sampled || l.Seen == l.Accepted && !l.AtLeast)
}

// harmed is how many clients were not served. One that was refused may have
// tried again.
func (l *Listener) harmed() uint64 { return l.Dead() + l.DeadAtAttach + l.Overflow() + l.Purged }

// worse orders listeners by what went wrong at them in all.
func worse(a, b *Listener) int {
	return cmp.Or(
		cmp.Compare(b.harmed(), a.harmed()),
		cmp.Compare(b.Failed(), a.Failed()),
		cmp.Compare(b.Stalled, a.Stalled),
		cmp.Compare(b.Wait.P99, a.Wait.P99),
		cmp.Compare(b.Accepted, a.Accepted),
		a.Key.Addr.Compare(b.Key.Addr),
		cmp.Compare(a.Key.NetNS, b.Key.NetNS),
		cmp.Compare(a.Key.Ifindex, b.Key.Ifindex))
}

func (r *Report) sort() {
	slices.SortFunc(r.Listeners, func(a, b Listener) int { return worse(&a, &b) })
	slices.SortFunc(r.Stalls, longerStall)
	slices.SortFunc(r.Longest, longerWait)
}

func longerStall(a, b Stall) int {
	return cmp.Or(cmp.Compare(b.Length(), a.Length()), cmp.Compare(a.From, b.From),
		a.Key.Addr.Compare(b.Key.Addr), cmp.Compare(a.ID, b.ID))
}

func longerWait(a, b Wait) int {
	return cmp.Or(cmp.Compare(b.Length, a.Length), cmp.Compare(a.Time, b.Time), a.Peer.Compare(b.Peer))
}

// find is the listener at a bound address; nil: none.
func (r *Report) find(key listener.Key) *Listener {
	for i := range r.Listeners {
		if r.Listeners[i].Key == key {
			return &r.Listeners[i]
		}
	}
	return nil
}
