package cli

import (
	"context"
	"slices"
	"time"

	"acceptwatch/internal/fence"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

const (
	// sampleEvery is how often counts are read.
	sampleEvery = int64(200 * time.Millisecond)
	// samplesShare is the part of a CPU, one in so many, that this takes at most: with
	// many thousands of listeners it is done less often. rarestSample bounds how
	// rarely: a stall that is shorter is not seen, and what one sample took may have
	// been the wait for a CPU.
	samplesShare = 5
	rarestSample = int64(time.Second)
	// walkEvery is how often the contents of the queues are looked at, which
	// repairs what events missed, and before it who holds the listeners.
	walkEvery = int64(5 * time.Second)
	// confirmEvery bounds how often they are looked at to confirm stalls.
	confirmEvery = int64(time.Second)
	// measureEvery is how often a recording is told of the waits.
	measureEvery = int64(time.Second)
	// ownersEvery is how often a recording is told again who holds the listeners, so
	// that it can be read from its middle.
	ownersEvery = int64(30 * time.Second)
)

// live drives a source into a session: it says when to read, to sample and to
// walk.
type live struct {
	*session
	src source

	// attached, if not nil, is called when the header has been shown. stepped,
	// if not nil, is called after each look at the source; its error ends the
	// run, after the summary.
	attached func()
	stepped  func(now int64) error

	// How often things are done at most, in ns.
	sampleEvery, walkEvery, measureEvery int64
	cost                                 int64 // ns: that the last sample took, and all that was done with it
	share, rarest                        int64 // of samples: samplesShare, rarestSample
	// measures says that somebody wants to know of waits all the time.
	measures bool
	// brief: it ends without a last look, and without a summary.
	brief bool

	// When things were last done, in ns of CLOCK_MONOTONIC.
	sampled, walked, followed, measured, told int64 // told 0: is to be, again

	doctor      *diagnostician // nil: nothing is diagnosed
	ill         stall          // that is, or was last, being diagnosed
	passedOver  []stall        // that began meanwhile, the next one first
	undiagnosed int            // stalls that ended before their turn, or found no room
	// examined is the stall that was last diagnosed because somebody asked, by when
	// it began, in ns.
	examined int64

	opened int64       // ns: since when the duration runs
	later  fence.Later // what is yet to be done, when the header has been shown
	part   int         // of the recording
	met    uint64      // of the table, when holders were last looked for
	warned map[string]bool
}

func newLive(a *app, src source, o *traceOptions, v view, clock *wallClock) *live {
	what := about{mode: src.Mode(), limits: src.Limits(), netns: a.env.netns, held: o.filter.ByHolder(), hint: "Ctrl-C ends with a summary"}
	if o.duration > 0 {
		what.hint = "ends with a summary after " + ui.Duration(o.duration)
	}
	if e, ok := src.(explainer); ok {
		what.why = e.Why()
	}
	l := &live{
		src: src, warned: make(map[string]bool),
		sampleEvery: sampleEvery, walkEvery: walkEvery, measureEvery: measureEvery,
		share: samplesShare, rarest: rarestSample,
	}
	l.opened = a.env.monotonic()
	l.session = newSession(a, what, o, v, clock, &liveHost{env: &a.env}, begun(src, l.opened))
	if a.env.evidence != nil && o.diagnosis != diagnosisOff {
		l.doctor = newDiagnostician(&a.env, diagnosisSpan, src.Mode(), o.diagnosis == diagnosisFull)
		l.stalled = l.fellIll
	}
	return l
}

// record hands everything on to a tape from here on.
func (l *live) record(t *tape) {
	l.tape = t
	l.hosts.host = &liveHost{env: &l.app.env, told: t.owners}
	l.part = t.part()
}

// run shows everything from the header to the summary. When ctx ends or the
// duration is over, it returns nil.
func (l *live) run(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	l.later.Stacks = l.doctor != nil && l.doctor.stacks
	l.app.giveUp(l.later)
	var broken error
	for ctx.Err() == nil && broken == nil {
		now := l.app.env.monotonic()
		if l.opt.duration > 0 && now-l.opened >= int64(l.opt.duration) {
			break
		}
		if readerGone(l.app.Out) {
			return nil
		}
		if err := l.step(ctx, now); err != nil {
			return err
		}
		if broken = l.tape.tick(now); broken == nil && l.stepped != nil {
			broken = l.stepped(now)
		}
	}
	if l.brief {
		l.dismiss()
		return broken
	}
	if err := l.finish(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if broken != nil {
		return broken
	}
	return l.tape.failed()
}

// begin looks at what is queued already, and prints the header.
func (l *live) begin(ctx context.Context) error {
	l.took(l.clock.read())
	l.follow(ctx)
	l.followed = l.app.env.monotonic()
	if err := l.look(false); err != nil {
		return err
	}
	waiting, _ := l.hosts.notListening(ctx)
	if waiting != "" && l.opt.json {
		l.app.log.Warn().Msg(waiting + "; waiting for it")
	}
	l.ready(l.app.env.monotonic(), waiting)
	if l.attached != nil {
		l.attached()
	}
	return l.view.flush()
}

// step reads once, and samples and walks when it is time.
func (l *live) step(ctx context.Context, now int64) error {
	if l.clock.old(now) {
		l.took(l.clock.read())
	}
	// A recording may be cut anywhere, and is to tell of waits and of owners
	// then too.
	waits := (l.tape != nil || l.measures) && now-l.measured >= l.paced(l.measureEvery)
	parted := l.tape.part() != l.part
	if parted {
		waits, l.part, l.told = true, l.tape.part(), 0
	}
	// Stalls are confirmed by walks, which must not put this off.
	if now-l.followed >= l.walkEvery || parted {
		l.follow(ctx)
		l.followed = now
	}
	if now-l.walked >= l.walkEvery || parted {
		l.walk()
		l.walked = now
	}
	if err := l.src.Read(l.apply); err != nil {
		return err
	}
	if now-l.sampled >= l.paced(l.sampleEvery) || waits {
		if err := l.sample(waits); err != nil {
			return err
		}
		l.sampled = now
	}
	if waits {
		l.measured = now
		l.tellOwners(now)
	}
	l.recovered()
	l.view.tick()
	return l.view.flush()
}

// paced is how long it is from one sample to the next that is meant to follow after
// every ns.
func (l *live) paced(every int64) int64 {
	return max(every, min(l.share*l.cost, l.rarest))
}

// tellOwners tells a recording who holds the listeners, which one that is cut would
// not know. When there are new ones all is told again, as a dump begins with what
// was told last.
func (l *live) tellOwners(now int64) {
	if l.tape == nil {
		return
	}
	due := l.told == 0 || now-l.told >= ownersEvery
	if !due && l.met == l.table.Met() {
		return
	}
	l.met = l.table.Met()
	rows := l.hosts.rowsOf(l.table.Rows())
	if l.hosts.meet(rows) || due {
		l.told = now
		l.tape.owners(l.hosts.again(now, rows))
	}
}

// look takes everything in once: the queues, the events, the counts.
func (l *live) look(waits bool) error {
	l.walk()
	l.walked = l.app.env.monotonic()
	if err := l.src.Read(l.apply); err != nil {
		return err
	}
	return l.sample(waits)
}

func (l *live) walk() {
	if err := l.src.Walk(); err != nil {
		l.warn("walk", err)
	}
}

func (l *live) sample(waits bool) error {
	began := l.app.env.monotonic()
	sample, err := l.src.Sample(waits)
	if err != nil {
		return err
	}
	if l.looksStalled(sample) && sample.Time-l.walked >= confirmEvery {
		l.walk()
		l.walked = l.app.env.monotonic()
		if err := l.src.Read(l.apply); err != nil {
			return err
		}
		began = l.app.env.monotonic() // to read is mostly to wait
		unconfirmed := sample
		if sample, err = l.src.Sample(waits); err != nil {
			return err
		}
		sample.Keep(unconfirmed)
	}
	l.update(sample, waits)
	l.cost = l.app.env.monotonic() - began
	return nil
}

// looksStalled says whether a queue seems to have had entries that nobody
// accepted for long enough. The depth in a sample is that of the last event
// that could read it, so it is looked at before anybody is told of a stall.
func (l *live) looksStalled(sample *listener.Sample) bool {
	return slices.ContainsFunc(sample.Listeners, func(c listener.Counted) bool {
		since := max(c.LastAccept, c.NonEmptySince)
		return c.Depth > 0 && !c.Closed && sample.Time-since >= int64(l.opt.stallAfter)
	})
}

// finish looks a last time, and prints the summary.
func (l *live) finish(ctx context.Context) error {
	l.tellUndiagnosed()
	defer l.dismiss()
	if l.about.mode == restricted { // who was accepted is told by a look after a sample
		if err := l.sample(false); err != nil {
			return err
		}
	}
	if err := l.look(true); err != nil {
		return err
	}
	return l.end(ctx, l.app.env.monotonic())
}

// warn logs the first error of its kind.
func (l *live) warn(what string, err error) {
	if !l.warned[what] {
		l.warned[what] = true
		l.app.log.Warn().Err(err).Msg("cannot " + what)
	}
}
