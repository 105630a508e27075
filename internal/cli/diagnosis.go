package cli

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/diagnose/collect"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/ui"
)

// How trace shows diagnoses.
const (
	diagnosisLine = "line"
	diagnosisFull = "full"
	diagnosisOff  = "off"
)

// diagnosisSpan is how long the threads of a stalled listener are looked at.
const diagnosisSpan = 3 * time.Second

func parseDiagnosis(word string) (string, error) {
	switch word {
	case diagnosisLine, diagnosisFull, diagnosisOff:
		return word, nil
	}
	return "", usageErrorf("bad --diagnose: %q is no way to show it, choose line, full or off", word)
}

// suspect is a listening socket that is to be diagnosed.
type suspect struct {
	netns   uint32 // inode; 0: that of this process
	address netip.AddrPort
	inode   uint32
	holders func() holding
	among   int // listeners are diagnosed at a time, which share what may be looked at; 0: it alone
}

// holding is who holds sockets, by their inodes.
type holding struct {
	found  map[uint32][]owner.Process
	report owner.Report
	err    error
}

// holdersOf finds who holds sockets by one walk through all processes, when
// somebody asks first.
func (env *environment) holdersOf(inodes ...uint32) func() holding {
	return sync.OnceValue(func() (h holding) {
		wanted := make(map[uint32]struct{}, len(inodes))
		for _, inode := range inodes {
			wanted[inode] = struct{}{}
		}
		h.found, h.report, h.err = env.owners(wanted)
		return h
	})
}

// mostThreads is how many of its threads may be looked at.
func (s *suspect) mostThreads() int { return collect.MaxThreads / max(1, s.among) }

// gatherEvidence watches the processes that hold a socket for a span, which ends
// early when ctx does. It is called from goroutines. With stacks it names functions too, where that is
// possible, which costs the host more.
type gatherEvidence func(ctx context.Context, s suspect, span time.Duration, mode string, stacks bool) (*diagnose.Evidence, error)

// evidenceOf asks this host.
func evidenceOf(identities *owner.Identities, own uint32) gatherEvidence {
	return func(ctx context.Context, s suspect, span time.Duration, mode string, stacks bool) (*diagnose.Evidence, error) {
		l := collect.Listener{Address: s.address, Inode: s.inode}
		if s.netns != 0 && s.netns != own {
			ns, err := namespace(s.netns)
			if err != nil {
				return nil, err
			}
			l.NS = ns
		}
		held := s.holders()
		if held.err != nil {
			return nil, held.err
		}
		e := collect.Run(ctx, l, held.found[s.inode], collect.Options{Span: span, Mode: mode, MaxThreads: s.mostThreads(), Identities: identities, Stacks: stacks})
		e.NetNS = s.netns
		if text := held.report.String(); text != "" && len(held.found[s.inode]) == 0 {
			e.Blind = append(e.Blind, "who holds the listener is not known: "+text)
		}
		return e, nil
	}
}

// gatherGrace is for how long after the span evidence may be gathered still:
// files of a server can be on a host that does not answer, and its memory locked.
const gatherGrace = 30 * time.Second

// diagnostician diagnoses one listener at a time, beside the session.
type diagnostician struct {
	gather gatherEvidence
	spawn  func(func())
	span   time.Duration
	mode   string
	stacks bool
	cancel context.CancelFunc
	result chan *diagnose.Evidence // of the one that goes on
	busy   bool                    // with one: another may not begin
	clock  func() int64            // ns, CLOCK_MONOTONIC
	begun  int64                   // when the one that goes on did
	due    int64                   // when it is given up
	about  suspect
	before listener.Row // when it began
}

func newDiagnostician(env *environment, span time.Duration, mode string, stacks bool) *diagnostician {
	return &diagnostician{gather: env.evidence, spawn: env.spawn, clock: env.monotonic, span: span, mode: mode, stacks: stacks, cancel: func() {}}
}

// begin starts to gather.
func (d *diagnostician) begin(s suspect, before listener.Row) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan *diagnose.Evidence, 1) // of its own: one that was given up may come yet
	d.busy, d.about, d.before, d.cancel, d.result = true, s, before, cancel, result
	d.begun = d.clock()
	d.due = d.begun + int64(d.span+gatherGrace)
	d.spawn(func() {
		e, err := d.gather(ctx, s, d.span, d.mode, d.stacks)
		if err != nil {
			e = d.nothing(s, fmt.Sprintf("nothing could be gathered: %v", err))
		}
		result <- e
	})
}

// end has the span end now.
func (d *diagnostician) end() {
	d.cancel()
	d.due = min(d.due, d.clock()+int64(gatherGrace))
}

// nothing is evidence without any, and why.
func (d *diagnostician) nothing(s suspect, why string) *diagnose.Evidence {
	return &diagnose.Evidence{Listener: s.address.String(), NetNS: s.netns, Inode: s.inode, Mode: d.mode, Blind: []string{why}}
}

// done gives the evidence when it is there, or when it is given up; nil: not yet,
// or none was asked for.
func (d *diagnostician) done() *diagnose.Evidence {
	select {
	case e := <-d.result:
		d.busy = false
		d.cancel()
		return e
	default:
	}
	now := d.clock()
	if !d.busy || now < d.due {
		return nil
	}
	d.busy = false
	d.cancel()
	took := time.Duration(now - d.begun)
	e := d.nothing(d.about, fmt.Sprintf("the server's processes could not be read within %s: a file or the memory of one does not answer", took.Round(time.Second)))
	e.Time, e.Span = now, took
	return e
}

// memberRow is the row of one listener: that of its own, if several share the
// address.
func memberRow(rows []listener.Row, inode uint32) (listener.Row, bool) {
	for i := range rows {
		if rows[i].Inode == inode && rows[i].Open > 0 {
			return rows[i], true
		}
		for j := range rows[i].Members {
			if rows[i].Members[j].Inode == inode {
				return rows[i].Members[j], true
			}
		}
	}
	return listener.Row{}, false
}

// addEvents adds what the events of a mode tell of a queue since before.
func addEvents(e *diagnose.Evidence, before, now *listener.Row, last ui.LastAccept, mode string) {
	q := &e.Queue
	q.Depth, q.Backlog = diagnose.Known(now.Depth), diagnose.Known(now.Backlog)
	if oldest, known := now.Oldest(); known && now.Depth > 0 {
		q.Oldest = diagnose.Known(oldest)
	}
	if last.Time != 0 {
		q.LastPID, q.LastTID = diagnose.Known(int(last.PID)), diagnose.Known(int(last.TID))
		q.SinceLast = diagnose.Known(time.Duration(max(0, now.Time-last.Time)))
	}
	accepted := listener.Grown(now.Accepted, before.Accepted)
	if mode == restricted {
		if accepted > 0 {
			q.Accepting = diagnose.Known(true)
		}
		return
	}
	q.Accepted, q.Accepting = diagnose.Known(accepted), diagnose.Known(accepted > 0)
	q.Refused = diagnose.Known(listener.Grown(now.Overflow(), before.Overflow()))
	q.Dead = diagnose.Known(now.Unaccepted.Dead())
	q.FailuresSeen = true
	q.Failures = nil
	for _, f := range now.AcceptErrors {
		i := slices.IndexFunc(before.AcceptErrors, func(was listener.AcceptFailures) bool {
			return was.PID == f.PID && was.Comm == f.Comm && was.Errno == f.Errno
		})
		count := f.Count
		if i >= 0 && f.Last > before.Time {
			count = listener.Grown(f.Count, before.AcceptErrors[i].Count)
		}
		// Those before an accept that succeeded are over.
		if count > 0 && (f.Last > now.LastAccept || f.Last > before.Time) {
			q.Failures = append(q.Failures, diagnose.AcceptFailure{
				Errno: event.ErrnoName(f.Errno), PID: int(f.PID), Comm: f.Comm.String(), Count: count,
			})
		}
	}
}

// noEvents are what mode diag leaves open.
func noEvents(why string) []string {
	return []string{
		"mode diag: accepted connections, failed calls of accept() and who accepts are not seen, only looked for (" + why + ")",
	}
}
