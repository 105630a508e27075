package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/trigger"
	"acceptwatch/internal/ui"
)

// flightFlags are the flags of the flight recorder, parsed.
type flightFlags struct {
	last    time.Duration
	text    string
	trigger *trigger.Trigger // nil: only SIGUSR1
	calm    time.Duration
	dumps   int
	limit   string
	size    int64 // bytes of one dump
	room    string
	memory  int64 // bytes
}

func (f *flightFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.last, "last", 0, "flight recorder: keep this `time` in memory, and write it when a trigger fires")
	flags.StringVar(&f.text, "trigger", "", "flight recorder: what to write it for, such as 'close_wait>=1/s | stall'")
	flags.DurationVar(&f.calm, "calm", 10*time.Second, "flight recorder: end a file when no trigger has fired for this `time`")
	flags.IntVar(&f.dumps, "max-files", 20, "flight recorder: keep this `number` of files, and remove older ones")
	flags.StringVar(&f.limit, "max-size", "256M", "flight recorder: end a file at this `size`")
	flags.StringVar(&f.room, "memory", "64M", "flight recorder: keep at most this `size` in memory, and less than --last then")
}

func (f *flightFlags) on() bool { return f.last > 0 }

// parse checks the flags, with those of other recordings.
func (f *flightFlags) parse(cmd *cobra.Command, into *fileFlags) (err error) {
	if f.last < 0 {
		return usageErrorf("bad --last: %s keeps nothing, give a time such as 10m", f.last)
	}
	if !f.on() {
		for _, name := range []string{"trigger", "calm", "max-files", "max-size", "memory"} {
			if cmd.Flags().Changed(name) {
				return usageErrorf("--%s is of the flight recorder: say how much of the past to keep with --last, such as --last 10m", name)
			}
		}
		return nil
	}
	for _, name := range []string{"rotate-size", "rotate-every", "keep", "no-sync"} {
		if cmd.Flags().Changed(name) {
			return usageErrorf("--%s is not for the flight recorder, which writes a file for each incident: see --max-files and --max-size", name)
		}
	}
	if f.text != "" {
		if f.trigger, err = trigger.Parse(f.text); err != nil {
			return usageErrorf("bad --trigger: %w", err)
		}
	}
	if f.size, err = parseSize(f.limit); err != nil {
		return usageErrorf("bad --max-size: %w", err)
	}
	if f.memory, err = parseSize(f.room); err != nil {
		return usageErrorf("bad --memory: %w", err)
	}
	switch {
	case f.calm <= 0:
		return usageErrorf("bad --calm: %s is no time to wait, give one such as 10s", f.calm)
	case f.dumps <= 0:
		return usageErrorf("bad --max-files: with %d nothing would be kept", f.dumps)
	case into.path == stdName:
		return usageErrorf("the flight recorder writes a file for each incident: give -w a directory")
	}
	return nil
}

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
		header.Settings[settingFlight] = o.flight.last.String()
		box := recording.NewFlight(header, recording.FlightOptions{
			Span: o.flight.last, MaxBytes: int(o.flight.memory),
		})
		f := &flight{
			app: a, opt: &o.flight, dir: dir, box: box, live: l, asks: asks,
			windows: make(map[rowName]*trigger.Window), waits: make(map[listener.Key]seenWait),
		}
		shown.flight = f
		l.record(&tape{to: box, survived: func(err *recording.WriteError) { a.log.Error().Msg(err.Error()) }})
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

// writableDirectory says whether files can be made there, before anybody relies
// on it.
func writableDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fileError(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory, and the flight recorder writes a file for each incident", path)
	}
	probe, err := os.CreateTemp(path, ".acceptwatch-*")
	if err != nil {
		return fmt.Errorf("cannot write in %s: %v", path, reason(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// flight watches listeners, and dumps the past when a trigger fires.
type flight struct {
	app  *app
	opt  *flightFlags
	dir  string
	box  *recording.Flight
	live *live
	asks <-chan os.Signal

	windows map[rowName]*trigger.Window
	looked  int64                     // ns: the last look; 0: there was none
	waits   map[listener.Key]seenWait // of listeners, the longest of the last second

	out     *os.File
	written dumpSize
	fired   int64 // ns: a trigger last did
	spent   bool  // a dump was ended by its size, and no other begins before it is calm
	dumps   int
}

// seenWait is the longest wait of those that were accepted in this second, and
// in the one before.
type seenWait struct {
	since       int64 // ns
	now, before time.Duration
}

// dumpSize counts what goes into a file.
type dumpSize struct {
	file *os.File
	n    int64
}

func (d *dumpSize) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.n += int64(n)
	return n, err
}

// flightView takes what a session shows to its flight recorder.
type flightView struct{ flight *flight }

func (v *flightView) begin(*ui.Header)           {}
func (v *flightView) tick()                      {}
func (v *flightView) end(*ui.Summary, time.Time) {}
func (v *flightView) flush() error               { return nil }
func (v *flightView) rows(rows []listener.Row)   { v.flight.look(rows) }
func (v *flightView) line(l *ui.Line)            { v.flight.saw(l) }

// saw takes note of a wait.
func (f *flight) saw(l *ui.Line) {
	if l.Kind != event.Accepted {
		return
	}
	wait, _ := l.Wait()
	key := listener.Key{NetNS: l.NetNS, Addr: l.Listener}
	w := f.waits[key]
	w.turn(l.Time)
	w.now = max(w.now, wait)
	f.waits[key] = w
}

// turn begins another second when one is over.
func (w *seenWait) turn(now int64) {
	switch over := now - w.since; {
	case over >= 2*int64(time.Second):
		*w = seenWait{since: now}
	case over >= int64(time.Second):
		*w = seenWait{since: w.since + int64(time.Second), before: w.now}
	}
}

// look asks the trigger of each listener.
func (f *flight) look(rows []listener.Row) {
	if f.opt.trigger == nil {
		return
	}
	known := make(map[rowName]bool, len(rows))
	for i := range rows {
		row := &rows[i]
		name := nameOf(row)
		known[name] = true
		values := f.window(name, row.Time).Add(row.Time, trigger.Counts{
			CloseWait: row.CloseWait, Reset: row.Reset, Purged: row.Purged, Overflow: row.Overflow(),
			AcceptError: row.Failed(), Accepted: row.Accepted,
		})
		values.Depth, values.Stalled = row.Depth, row.StalledSince != 0
		if row.Open > 0 {
			values.Places = row.Backlog + uint32(row.Open)
		}
		values.Wait, _ = row.Oldest()
		key := listener.Key{NetNS: row.Key.NetNS, Addr: row.Key.Addr}
		if w, ok := f.waits[key]; ok {
			w.turn(row.Time)
			f.waits[key] = w
			values.Wait = max(values.Wait, w.now, w.before)
		}
		f.ask(&values, row.Key.Addr.String(), row.Time)
	}
	f.lookElsewhere()
	f.looked = f.live.app.env.monotonic()
	for name := range f.windows {
		if !known[name] && name != elsewhere() {
			delete(f.windows, name)
			delete(f.waits, listener.Key{NetNS: name.key.NetNS, Addr: name.key.Addr})
		}
	}
}

// elsewhere is the name of all listeners that are not known.
func elsewhere() rowName { return rowName{listener.Key{Ifindex: ^uint32(0)}, true} }

func (f *flight) lookElsewhere() {
	var failed uint64
	for _, e := range f.live.hosts.unplaced(f.live.table.AcceptErrors()) {
		failed += e.Count
	}
	at := f.live.app.env.monotonic()
	values := f.window(elsewhere(), at).Add(at, trigger.Counts{AcceptError: failed})
	if values.AcceptError > 0 {
		f.ask(&values, "a listener that is not known", at)
	}
}

// window is that of a listener. All that one has counted that was not there at
// the last look is new.
func (f *flight) window(name rowName, now int64) *trigger.Window {
	w := f.windows[name]
	if w == nil {
		w = &trigger.Window{}
		if f.looked != 0 {
			w.Add(min(f.looked, now), trigger.Counts{})
		}
		f.windows[name] = w
	}
	return w
}

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

// dump begins a file. What fails is told, and tried again with the next trigger.
func (f *flight) dump(why, where string) {
	name := filepath.Join(f.dir, dumpName(f.app.env.now(), why))
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		f.live.warn("write a dump", fileError(err))
		return
	}
	f.out, f.written = file, dumpSize{file: file}
	if err := f.box.Dump(&f.written); err != nil {
		f.app.log.Error().Msg(name + ": " + err.Error())
		f.close()
		return
	}
	f.dumps++
	f.app.log.Warn().Str("trigger", why).Str("listener", where).Msg("writing " + name)
	f.tidy()
}

// dumpPrefix begins the names of dumps, and dumpSuffix ends them.
const (
	dumpPrefix = "acceptwatch-"
	dumpSuffix = ".trace"
)

// dumpName is the name of a dump: names are in the order of their times.
func dumpName(at time.Time, why string) string {
	word := strings.FieldsFunc(why, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
	text := "dump"
	if len(word) > 0 {
		text = word[0]
	}
	return dumpPrefix + at.UTC().Format("20060102T150405.000Z") + "-" + text + dumpSuffix
}

// tidy removes the oldest dumps that are too many.
func (f *flight) tidy() {
	names, err := filepath.Glob(filepath.Join(escapedGlob(f.dir), dumpPrefix+"*"+dumpSuffix))
	if err != nil {
		return
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-f.opt.dumps)] {
		if err := os.Remove(name); err != nil {
			f.live.warn("remove an old dump", err)
		}
	}
}

// escapedGlob is a path in which nothing is a pattern.
func escapedGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// step ends what is over, and does what a signal asks for.
func (f *flight) step(now int64) error {
	select {
	case <-f.asks:
		if f.out == nil {
			f.dump("signal", "")
		}
	default:
	}
	calm := now-f.fired >= int64(f.opt.calm)
	if calm {
		f.spent = false
	}
	switch {
	case f.out == nil:
	case !f.box.Dumping(): // it could not be written any further
		f.spent = true
		return f.stop()
	case calm:
		return f.stop()
	case f.written.n >= f.opt.size:
		f.app.log.Warn().Msg("ending " + f.out.Name() + ", which has reached --max-size")
		f.spent = true
		return f.stop()
	}
	return nil
}

// stop ends a dump. That it could not be ended is told, and is no end of the
// flight recorder.
func (f *flight) stop() error {
	if f.out == nil {
		return nil
	}
	if f.box.Dumping() {
		if err := f.box.Stop(); err != nil {
			f.app.log.Error().Msg(f.out.Name() + ": " + err.Error())
		}
	}
	if err := f.out.Sync(); err != nil {
		f.app.log.Error().Msg(f.out.Name() + ": " + err.Error())
	}
	f.app.log.Info().Msg("wrote " + f.out.Name() + ", " + sizeWords(f.written.n))
	f.close()
	return nil
}

func (f *flight) close() {
	f.out.Close()
	f.out = nil
}
