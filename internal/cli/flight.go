package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/fence"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/trigger"
	"acceptwatch/internal/ui"
)

// fly keeps the past until something happens.
func (a *app) fly(ctx context.Context, o *recordOptions) error {
	dir := o.into.path
	if err := writableDirectory(dir); err != nil {
		return err
	}
	command, err := newCommand(a, o.command)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	asks := make(chan os.Signal, 1)
	signal.Notify(asks, unix.SIGUSR1)
	defer signal.Stop(asks)

	asked := sourceOptions{Mode: o.trace.mode, Filter: o.trace.filter, MinWait: o.trace.minWait, Kinds: sourceKinds(o.trace.kinds)}
	err = a.attach(running, asked, func(src source) error {
		shown := &flightView{}
		l := newLive(a, src, &o.trace, shown, newWallClock(&a.env))
		header := headerOf(l, asked)
		header.Settings[recording.SettingFlight] = o.flight.last.String()
		box := recording.NewFlight(header, recording.FlightOptions{
			Span: o.flight.last, MaxBytes: int(o.flight.memory),
		})
		f := &flight{
			app: a, opt: &o.flight, dir: dir, box: box, live: l, asks: asks,
			windows: make(map[listener.RowName]*trigger.Window), waits: make(map[listener.Key]seenWait),
		}
		shown.flight = f
		l.record(&tape{to: box, survived: func(err *recording.WriteError) { a.log.Error().Msg(err.Error()) }})
		l.later = fence.Later{Files: true, Signal: command != nil}
		l.attached = func() {
			a.log.Info().Str("mode", src.Mode()).Str("filter", o.trace.filter.String()).Str("trigger", o.flight.text).
				Msg("keeping the last " + ui.Duration(o.flight.last) + " in memory")
			command.start(ctx, cancel)
		}
		l.stepped = f.step
		err := l.run(running)
		return errors.Join(err, f.stop())
	})
	if status := command.wait(); err == nil {
		err = status
	}
	return err
}

// flight watches listeners, and dumps the past when a trigger fires.
type flight struct {
	app  *app
	opt  *flightFlags
	dir  string
	box  *recording.Flight
	live *live
	asks <-chan os.Signal

	windows map[listener.RowName]*trigger.Window
	looked  int64                     // ns: the last look; 0: there was none
	waits   map[listener.Key]seenWait // of listeners, the longest of the last second

	out     *os.File
	written dumpSize
	fired   int64 // ns: a trigger last did
	spent   bool  // a dump was ended by its size, and no other begins before it is calm
	dumps   int
}

// flightView takes what a session shows to its flight recorder.
type flightView struct{ flight *flight }

func (v *flightView) begin(*ui.Header)           {}
func (v *flightView) tick()                      {}
func (v *flightView) end(*ui.Summary, time.Time) {}
func (v *flightView) flush() error               { return nil }
func (v *flightView) rows(rows []listener.Row)   { v.flight.look(rows) }
func (v *flightView) line(l *ui.Line)            { v.flight.saw(l) }

func (f *flight) ask(values *trigger.Values, where string, at int64) {
	why, fires := f.opt.trigger.Fires(values)
	if !fires {
		return
	}
	f.fired = at
	if f.out == nil && !f.spent {
		f.dump(why, where)
	}
}
