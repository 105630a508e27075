package cli

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// gatherTimeout bounds what is asked of the host for the summary.
const gatherTimeout = 5 * time.Second

// view shows a trace. Its methods are called from one goroutine.
type view interface {
	begin(*ui.Header)
	line(*ui.Line)                   // valid until it returns
	tick()                           // called about ten times a second
	end(s *ui.Summary, at time.Time) // of the trace, by the wall clock
	flush() error
}

// rowsView is a view that wants to see the rows after every sample.
type rowsView interface {
	rows([]listener.Row)
}

// tableView is a view of all listeners as they are.
type tableView interface {
	// due says whether it wants to see them as of a time, in ns of
	// CLOCK_MONOTONIC. They are given the worst first, and only for as long as it
	// takes.
	due(at int64) bool
	table(at int64, all []ui.Listener, losses []listener.Loss)

	// queued takes what walks of the queues find: the kinds event.Listener and
	// event.Queued.
	queued(*event.Event)
}

// diagnosisView is a view that shows diagnoses.
type diagnosisView interface {
	diagnosis(*ui.Diagnosis)
}

// session turns what happened, in the order in which it happened, into the
// state of listeners and into a view. A live run and a replay give it the same,
// and it looks at nothing else. What it is given it hands on to a tape.
type session struct {
	app   *app
	opt   *traceOptions
	view  view
	clock *wallClock
	table *listener.Table
	hosts *gatherer
	tape  *tape // nil: nothing is recorded
	about about

	start       int64 // ns, CLOCK_MONOTONIC: counts are since then
	lastAccepts acceptors
	began       bool
	muted       bool               // nothing is shown yet, nor kept
	stalled     func(*event.Event) // if not nil, called when a stall begins
	base        *listener.Baseline // counts begin there; nil: at the start
	early       []event.Event      // what happened before the header was printed
	queued      oldest             // what the queues hold, until the header is printed
	line        ui.Line            // scratch of show

	rowsBuf   []listener.Row // of showTable
	joinedBuf []ui.Listener
}

// about is what a source says of itself.
type about struct {
	mode   string
	why    string
	limits []string
	netns  uint32 // inode of the tracer's own network namespace; 0: not known
	held   bool   // listeners are counted from when their holder is found
	hint   string // on how it ends, or where it comes from
}

func newSession(a *app, what about, o *traceOptions, v view, clock *wallClock, h host, start int64) *session {
	return &session{
		app: a, about: what, opt: o, view: v, clock: clock, start: start,
		table: listener.New(listener.Options{StallAfter: o.stallAfter, Start: start, Sampled: what.mode == restricted, ByHolder: what.held}),
		hosts: &gatherer{host: h, filter: &o.filter},
	}
}

// ready prints the header, when everything that was there has been looked at.
// waiting says what does not listen yet.
func (s *session) ready(at int64, waiting string) {
	header := &ui.Header{
		Mode: s.about.mode, Why: s.about.why, Limits: s.about.limits, Filter: s.opt.filter.String(),
		Lines: s.opt.lines(), NetNS: s.about.netns, Hint: s.about.hint, Waiting: waiting,
	}
	header.Oldest, header.Queued = s.queued.list()
	header.Listeners = slices.DeleteFunc(s.hosts.listeners(s.rows()), func(l ui.Listener) bool { return l.Open == 0 })
	s.tape.mark(recording.Mark{Kind: recording.MarkReady, Time: at})
	s.view.begin(header)
	s.began = true
	for i := range s.early {
		s.show(&s.early[i])
	}
	s.early, s.queued = nil, oldest{}
}

// rows are those of the table, with counts since the base.
func (s *session) rows() []listener.Row { return s.base.RowsSince(s.table.Rows()) }

// rebase makes counts begin now.
func (s *session) rebase() {
	s.base = s.table.Baseline()
}

// took takes the relation of the clocks.
func (s *session) took(c recording.Clock) {
	s.tape.clock(c)
	s.clock.set(c)
}

// update takes a sample.
func (s *session) update(sample *listener.Sample, waits bool) {
	s.tape.sample(sample, waits)
	s.table.Update(sample, s.emit)
	for i := range sample.Listeners {
		if c := &sample.Listeners[i]; c.Closed { // the event may have been lost
			s.lastAccepts.forget(c.ID)
		}
	}
	if v, ok := s.view.(rowsView); ok && s.began {
		v.rows(s.hosts.rowsOf(s.rows()))
	}
	if v, ok := s.view.(tableView); ok && s.began && v.due(sample.Time) {
		s.showTable(v, sample.Time)
	}
}

// showTable shows all listeners. There may be many, and it is done again and again,
// so it makes use of the same memory.
func (s *session) showTable(v tableView, at int64) {
	s.rowsBuf = s.table.AppendRows(s.rowsBuf[:0])
	rows := s.hosts.rowsOf(s.base.RowsSince(s.rowsBuf))
	s.hosts.meet(rows)
	s.joinedBuf = s.hosts.appendJoined(s.joinedBuf[:0], rows)
	v.table(at, s.joinedBuf, s.base.LossesSince(s.table.Losses()))
}

// end prints the summary.
func (s *session) end(ctx context.Context, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	all := s.hosts.listeners(s.rows())
	s.hosts.held(ctx, s.table, all)
	s.tape.mark(recording.Mark{Kind: recording.MarkEnd, Time: at})
	notes := s.hosts.notes(all)
	if s.opt.json {
		for _, note := range notes {
			s.app.log.Warn().Msg(note)
		}
	}
	s.view.end(&ui.Summary{
		Mode: s.about.mode, NetNS: s.about.netns,
		Duration:  time.Duration(at - s.start),
		Listeners: all, Losses: s.base.LossesSince(s.table.Losses()), Notes: notes,
		AcceptErrors: s.hosts.unplaced(s.base.FailuresSince(s.table.AcceptErrors())),
	}, s.clock.at(at))
	return s.view.flush()
}

// apply takes an event of the source.
func (s *session) apply(e *event.Event) {
	s.tape.event(e)
	switch e.Kind {
	case event.Listener, event.Queued:
		if !s.began {
			s.queued.add(e, &s.opt.filter)
		}
		if v, ok := s.view.(tableView); ok {
			v.queued(e)
		}
		s.table.Apply(e, s.emit)
		return
	}
	news := s.table.Apply(e, s.emit)
	switch {
	case e.ListenerID == 0:
	case e.Kind == event.Accepted:
		s.lastAccepts.saw(e)
	case e.Kind == event.ListenerClosed:
		s.lastAccepts.forget(e.ListenerID)
	}
	if news {
		s.emit(e)
	}
}

// diagnosed takes the evidence of a stall.
func (s *session) diagnosed(e *diagnose.Evidence) {
	s.tape.evidence(e)
	v, ok := s.view.(diagnosisView)
	if !ok || s.muted || !s.began || s.opt.diagnosis == diagnosisOff {
		return
	}
	if len(s.opt.kinds) > 0 && !slices.Contains(s.opt.kinds, event.Stall) {
		return
	}
	if addr, err := netip.ParseAddrPort(e.Listener); err != nil || !s.opt.filter.MatchListener(e.NetNS, addr, false) {
		return
	}
	v.diagnosis(&ui.Diagnosis{Evidence: e, Verdicts: diagnose.Judge(e), Full: s.opt.diagnosis == diagnosisFull})
}

// emit shows an event, or keeps it until the header is there.
func (s *session) emit(e *event.Event) {
	if e.Kind == event.Stall && s.stalled != nil {
		s.stalled(e)
	}
	if s.muted {
		return
	}
	if !s.began {
		s.early = append(s.early, *e)
		return
	}
	s.show(e)
}

func (s *session) show(e *event.Event) {
	place, _ := s.table.Resolve(e)
	if !s.wanted(e, place.Key) {
		return
	}
	s.line = ui.Line{Event: e, Listener: place.Key.Addr, AboutDepth: place.Depth, AboutBacklog: place.Backlog}
	if e.Kind == event.Stall {
		s.line.LastAccept = s.lastAccepts.of(e.ListenerID)
	}
	s.view.line(&s.line)
}

// wanted says whether an event of the listener at a bound address, which is zero
// if it is not known, gets a line. What the kernel was told to filter may come
// nevertheless, from another source or by way of the table.
func (s *session) wanted(e *event.Event, bound listener.Key) bool {
	if len(s.opt.kinds) > 0 && !slices.Contains(s.opt.kinds, e.Kind) {
		return false
	}
	if e.Kind == event.Accepted && s.opt.minWait > 0 && !e.State.Dead() {
		if wait, _ := e.Wait(); wait < s.opt.minWait {
			return false
		}
	}
	if e.Kind == event.AcceptError {
		return s.hosts.wantsFailure(e, bound)
	}
	if e.Peer.IsValid() && e.Peer.Port() != 0 {
		return s.opt.filter.Match(e.NetNS, e.Local)
	}
	return s.opt.filter.MatchListener(e.NetNS, e.Local, false)
}

// lines says which lines are shown; empty: all.
func (o *traceOptions) lines() string {
	text := ""
	for i, k := range o.kinds {
		if i > 0 {
			text += ", "
		}
		text += k.String()
	}
	if o.minWait > 0 {
		if text != "" {
			text += "; "
		}
		text += "accepted connections that waited " + ui.Duration(o.minWait) + " or more"
	}
	return text
}
