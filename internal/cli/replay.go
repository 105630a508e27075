package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// viewMaker makes a view when the recording has told of its clock: now is the
// time that the replay has come to.
type viewMaker func(clock *wallClock, now func() time.Time) view

// replay drives a recording into sessions: one for each run that it holds. It
// does what the live run did, at the same places; between the records it asks
// nobody for anything.
type replay struct {
	app  *app
	opt  traceOptions
	how  replayOptions
	make viewMaker
	// player, if not nil, says when it goes on, and where.
	player *player
	last   int64 // ns: the end of the first run; 0: not known

	reader *recording.Reader
	header *recording.Header
	*session
	now      int64             // ns, CLOCK_MONOTONIC: the latest time that was met
	from, to int64             // ns: what is to be shown
	placed   bool              // from and to are known
	partial  bool              // it begins in the middle
	owners   *recording.Owners // of which more parts are to come
	damaged  int
	shown    bool // a run before it was
	ended    bool
}

// replay shows a recording. What can be read is shown, whatever is wrong with
// the rest; a tail that is missing is told of, and is no error.
func (a *app) replay(ctx context.Context, o *traceOptions, how replayOptions, make viewMaker) error {
	reader, closer, err := a.openRecording(how.path)
	if err != nil {
		return err
	}
	defer closer.Close()
	r := &replay{app: a, opt: *o, how: how, make: make, reader: reader}
	if err := r.run(ctx); err != nil {
		return err
	}
	return r.verdict()
}

func (r *replay) run(ctx context.Context) error {
	defer r.reader.ReadAhead()()
	for {
		if err := r.play(ctx); err != nil {
			return err
		}
		if r.session == nil || r.player == nil {
			return r.finish(ctx)
		}
		if ctx.Err() != nil {
			return nil // its user has seen enough
		}
		if r.muted && !r.shown {
			return r.finish(ctx)
		}
		if !r.player.over(ctx, r.now) {
			return nil
		}
		if err := r.goTo(r.player.take()); err != nil {
			return err
		}
	}
}

// begin takes the header of a run, or of the next part of the same one.
func (r *replay) begin(ctx context.Context, h *recording.Header) error {
	if was := r.header; was != nil && r.session != nil {
		if was.BootID == h.BootID && was.Host == h.Host && was.Start == h.Start && was.Part > 0 && h.Part == was.Part+1 {
			r.header = h
			return nil
		}
		if !r.muted { // what is to be shown may be of the next run
			if err := r.finish(ctx); err != nil {
				return err
			}
		}
	}
	if err := r.open(h, h.Partial()); err != nil {
		return err
	}
	if r.player != nil {
		r.player.begin(h.Clock.Monotonic, r.last)
		r.last = 0
	}
	if r.partial {
		return nil
	}
	_, err := r.place(h.Start)
	return err
}

// open begins a session of a run, at its beginning or in the middle.
func (r *replay) open(h *recording.Header, partial bool) error {
	recorded, stallAfter, err := settingsOf(h)
	if err != nil {
		return recordingError(r.how.path, err)
	}
	opt := r.opt
	opt.filter = narrowed(recorded, opt.filter)
	if !r.how.ownStall {
		opt.stallAfter = stallAfter
	}
	clock := &wallClock{env: &r.app.env, zone: r.app.env.now().Location(), now: h.Clock}
	*r = replay{
		app: r.app, opt: r.opt, how: r.how, make: r.make, player: r.player, last: r.last,
		reader: r.reader, damaged: r.damaged, shown: r.shown,
		header: h, now: h.Start, partial: partial,
	}
	what := about{
		mode: h.Mode, why: h.Why, limits: h.Limits, netns: h.NetNS, held: recorded.ByHolder(), hint: r.origin(h, clock),
	}
	start := h.Start
	if r.partial {
		start = 0
	}
	view := r.make(clock, func() time.Time { return clock.at(r.now) })
	r.session = newSession(r.app, what, &opt, view, clock, pastHost{}, start)
	return nil
}

// place finds out what is to be shown of a run, by its beginning in ns of
// CLOCK_MONOTONIC, and goes there.
func (r *replay) place(beginning int64) (leapt bool, err error) {
	r.placed = true
	if r.from, r.to, err = r.how.span(beginning, r.header); err != nil {
		return false, err
	}
	if r.player != nil {
		r.player.confine(r.from, r.to)
	}
	if r.muted = r.from > beginning; r.muted && r.from-recording.Lead > beginning {
		return r.leap(r.from - recording.Lead)
	}
	return false, nil
}

// leap goes on at a later time of the run. What cannot seek is read instead.
func (r *replay) leap(to int64) (leapt bool, err error) {
	err = r.reader.SeekTime(to)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, recording.ErrNoSeek):
		return false, nil
	}
	return false, recordingError(r.how.path, err)
}

func (r *replay) name() string { return inputName(r.how.path) }

func (r *replay) origin(h *recording.Header, clock *wallClock) string {
	text := "recorded " + clock.at(h.Clock.Monotonic).Format("2006-01-02 15:04:05 MST")
	if h.Host != "" {
		text += " on " + ui.Clean(h.Host)
	}
	if h.Part > 0 {
		text += fmt.Sprintf(", part %d", h.Part)
	}
	return text + "; read from " + r.name()
}

// take takes a record.
func (r *replay) take(ctx context.Context, rec *recording.Record) error {
	if at, told := rec.Time(); told {
		if !r.placed {
			r.start, r.now = at, at
			if leapt, err := r.place(at); err != nil || leapt {
				return err
			}
		}
		if at >= r.to {
			r.now = r.to
			_, err := r.leap(math.MaxInt64) // only another run is of interest
			return errors.Join(r.finish(ctx), err)
		}
		if r.muted && at >= r.from {
			r.now, r.start, r.muted = r.from, r.from, false
			r.countFromHere()
			r.ready(r.from, "")
		}
		r.now = max(r.now, at)
	}
	switch rec.Kind {
	case recording.KindEvent:
		r.apply(rec.Event)
	case recording.KindSample:
		r.update(rec.Sample, rec.Waits)
		if r.partial && !r.muted && !r.began {
			r.countFromHere()
			r.ready(r.now, "")
		}
		if !r.began {
			return nil
		}
		r.view.tick()
		return r.view.flush()
	case recording.KindClock:
		r.took(rec.Clock)
	case recording.KindOwners:
		r.learn(rec.Owners)
	case recording.KindEvidence:
		r.diagnosed(rec.Evidence)
	case recording.KindMark:
		switch {
		case rec.Mark.Kind == recording.MarkReady && !r.began && !r.muted:
			r.ready(rec.Mark.Time, "")
			return r.view.flush()
		case rec.Mark.Kind == recording.MarkEnd && !r.muted:
			return r.finish(ctx)
		}
	}
	return nil
}

// countFromHere leaves out what was counted before. Where a player goes back and
// forth, the same would be counted from elsewhere each time.
func (r *replay) countFromHere() {
	if r.player == nil {
		r.rebase()
	}
}

// learn takes what somebody found out about the host, of which long answers come
// in several records.
func (r *replay) learn(o *recording.Owners) {
	if r.owners != nil {
		o = &recording.Owners{
			Time: o.Time, Scan: o.Scan, Missing: o.Missing, More: o.More, HeldKnown: o.HeldKnown,
			Listening: append(r.owners.Listening, o.Listening...), Held: append(r.owners.Held, o.Held...),
		}
	}
	if r.owners = nil; o.More {
		r.owners = o
		return
	}
	r.hosts.take(o)
}

// finish prints the summary of a run.
func (r *replay) finish(ctx context.Context) error {
	if r.session == nil || r.ended {
		return nil
	}
	r.ended = true
	if r.muted && r.shown {
		return nil
	}
	if r.muted {
		return usageErrorf("--since is after the end of %s: it ends %s", r.name(), r.clock.at(r.now).Format("2006-01-02 15:04:05 MST"))
	}
	r.shown = true
	if !r.began {
		r.ready(r.now, "")
	}
	return r.end(context.WithoutCancel(ctx), r.now)
}

func (r *replay) verdict() error {
	return r.app.verdict(r.how.path, r.reader.Err(), r.reader.Skipped(), r.damaged)
}
