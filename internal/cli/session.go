package cli

import (
	"context"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

const (
	sampleEvery = int64(200 * time.Millisecond)
	// walkEvery is how often the contents of the queues are looked at, which
	// repairs what events missed.
	walkEvery = int64(5 * time.Second)
	// confirmEvery bounds how often they are looked at to confirm stalls.
	confirmEvery = int64(time.Second)
	// gatherTimeout bounds what is asked of the host for the summary.
	gatherTimeout = 5 * time.Second
)

// view shows a trace. Its methods are called from one goroutine.
type view interface {
	begin(*ui.Header)
	line(*ui.Line)
	tick() // called about ten times a second
	end(*ui.Summary)
	flush() error
}

// session drives a source into the state of listeners and into a view.
type session struct {
	app   *app
	src   source
	opt   *traceOptions
	view  view
	clock *wallClock
	table *listener.Table
	hosts *gatherer

	start, sampled, walked int64 // ns, CLOCK_MONOTONIC
	lastAccepts            map[uint64]ui.LastAccept
	began                  bool
	early                  []event.Event // what happened before the header was printed
	queued                 oldest        // what the queues hold, until the header is printed
	warned                 map[string]bool
}

func newSession(a *app, src source, o *traceOptions, v view, clock *wallClock) *session {
	start := a.env.monotonic()
	return &session{
		app: a, src: src, opt: o, view: v, clock: clock, start: start,
		table:       listener.New(listener.Options{StallAfter: o.stallAfter, Start: start}),
		hosts:       &gatherer{env: &a.env, filter: &o.filter},
		lastAccepts: make(map[uint64]ui.LastAccept),
		warned:      make(map[string]bool),
	}
}

// run shows everything from the header to the summary. When ctx ends or the
// duration is over, it returns nil.
func (s *session) run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		now := s.app.env.monotonic()
		if s.opt.duration > 0 && now-s.start >= int64(s.opt.duration) {
			break
		}
		if readerGone(s.app.Out) {
			return nil
		}
		if err := s.step(ctx, now); err != nil {
			return err
		}
	}
	return s.end(context.WithoutCancel(ctx))
}

// begin looks at what is queued already, and prints the header.
func (s *session) begin(ctx context.Context) error {
	s.follow(ctx)
	if err := s.look(false); err != nil {
		return err
	}
	header := &ui.Header{
		Mode: s.src.Mode(), Limits: s.src.Limits(), Filter: s.opt.filter.String(),
		Lines: s.opt.lines(), NetNS: s.app.env.netns,
		Hint: "Ctrl-C ends with a summary",
	}
	if s.opt.duration > 0 {
		header.Hint = "ends with a summary after " + ui.Duration(s.opt.duration)
	}
	if e, ok := s.src.(explainer); ok {
		header.Why = e.Why()
	}
	header.Oldest, header.Queued = s.queued.list()
	header.Waiting = s.hosts.notListening(ctx)
	header.Listeners = slices.DeleteFunc(s.hosts.listeners(s.table.Rows()), func(l ui.Listener) bool { return l.Open == 0 })
	if header.Waiting != "" && s.opt.json {
		s.app.log.Warn().Msg("nothing listens on " + header.Waiting + " now; waiting for it")
	}
	s.view.begin(header)
	s.began = true
	for i := range s.early {
		s.show(&s.early[i])
	}
	s.early, s.queued = nil, oldest{}
	return s.view.flush()
}

// step reads once, and samples and walks when it is time.
func (s *session) step(ctx context.Context, now int64) error {
	s.clock.refresh(now)
	if now-s.walked >= walkEvery {
		s.follow(ctx)
		if err := s.src.Walk(); err != nil {
			s.warn("walk", err)
		}
		s.walked = now
	}
	if err := s.src.Read(s.apply); err != nil {
		return err
	}
	if now-s.sampled >= sampleEvery {
		if err := s.sample(false); err != nil {
			return err
		}
		s.sampled = now
	}
	s.view.tick()
	return s.view.flush()
}

// look takes everything in once: the queues, the events, the counts.
func (s *session) look(waits bool) error {
	if err := s.src.Walk(); err != nil {
		s.warn("walk", err)
	}
	s.walked = s.app.env.monotonic()
	if err := s.src.Read(s.apply); err != nil {
		return err
	}
	return s.sample(waits)
}

func (s *session) sample(waits bool) error {
	sample, err := s.src.Sample(waits)
	if err != nil {
		return err
	}
	if s.looksStalled(sample) && sample.Time-s.walked >= confirmEvery {
		if err := s.src.Walk(); err != nil {
			s.warn("walk", err)
		}
		s.walked = s.app.env.monotonic()
		if err := s.src.Read(s.apply); err != nil {
			return err
		}
		if sample, err = s.src.Sample(waits); err != nil {
			return err
		}
	}
	s.table.Update(sample, s.emit)
	return nil
}

// looksStalled says whether a queue seems to have had entries that nobody
// accepted for long enough. The depth in a sample is that of the last event
// that could read it, so it is looked at before anybody is told of a stall.
func (s *session) looksStalled(sample *listener.Sample) bool {
	return slices.ContainsFunc(sample.Listeners, func(l listener.Counted) bool {
		since := max(l.LastAccept, l.NonEmptySince)
		return l.Depth > 0 && !l.Closed && sample.Time-since >= int64(s.opt.stallAfter)
	})
}

// end prints the summary.
func (s *session) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	if err := s.look(true); err != nil {
		return err
	}
	all := s.hosts.listeners(s.table.Rows())
	s.hosts.held(ctx, s.table, all)
	if s.opt.json {
		for _, note := range s.hosts.notes(all) {
			s.app.log.Warn().Msg(note)
		}
	}
	s.view.end(&ui.Summary{
		Mode: s.src.Mode(), NetNS: s.app.env.netns,
		Duration:  time.Duration(s.app.env.monotonic() - s.start),
		Listeners: all, Losses: s.table.Losses(), Notes: s.hosts.notes(all),
		AcceptErrors: s.hosts.unplaced(s.table.AcceptErrors()),
	})
	return s.view.flush()
}

// apply takes an event of the source.
func (s *session) apply(e *event.Event) {
	switch e.Kind {
	case event.Listener, event.Queued:
		if !s.began {
			s.queued.add(e, &s.opt.filter)
		}
		s.table.Apply(e, s.emit)
		return
	}
	news := s.table.Apply(e, s.emit)
	switch {
	case e.ListenerID == 0:
	case e.Kind == event.Accepted:
		s.lastAccepts[e.ListenerID] = ui.LastAccept{Time: e.Time, PID: e.PID, TID: e.TID, Comm: e.Comm}
	case e.Kind == event.ListenerClosed:
		delete(s.lastAccepts, e.ListenerID)
	}
	if news {
		s.emit(e)
	}
}

// emit shows an event, or keeps it until the header is there.
func (s *session) emit(e *event.Event) {
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
	s.view.line(&ui.Line{
		Event: e, LastAccept: s.lastAccepts[e.ListenerID],
		Listener: place.Key.Addr, AboutDepth: place.Depth, AboutBacklog: place.Backlog,
	})
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

// follow tells the source who holds what, when the filter names processes.
func (s *session) follow(ctx context.Context) {
	h, ok := s.src.(holder)
	if !ok || !filtersProcesses(&s.opt.filter) {
		return
	}
	sockets, err := s.hosts.heldBy(ctx)
	if err == nil {
		err = h.SetHeld(sockets)
	}
	if err != nil {
		s.warn("follow processes", err)
	}
}

func filtersProcesses(f *filter.Filter) bool { return len(f.PIDs)+len(f.Comms) > 0 }

// warn logs the first error of its kind.
func (s *session) warn(what string, err error) {
	if !s.warned[what] {
		s.warned[what] = true
		s.app.log.Warn().Err(err).Msg("cannot " + what)
	}
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
