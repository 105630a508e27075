package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/ui"
)

const topHelp = `Shows all listeners as a table that is kept up to date, the worst first: how
full each accept queue is, how long its oldest connection has waited, how many
are accepted a second and how long these had waited, and how many clients have
gone, or were refused. Enter opens a listener: the last minutes, the contents of
its queue, who accepts, why nobody does, and what happened. ? lists the keys and
what the columns mean.

-r plays a recording as if it happened now: space pauses, + and - change the
speed, left and right go back and on. --since and --until play a part of it; the
counts are those since the recording began.`

const topExamples = `  acceptwatch top
  acceptwatch top --port 8000-8010 --interval 500ms
  acceptwatch top --comm nginx
  acceptwatch top -r incident.trace --since 14:02`

// shortestInterval bounds what a user may ask for: each look costs.
const shortestInterval = 100 * time.Millisecond

// A table is looked at for long, and by a person: it takes less of a CPU than what
// has to see short stalls.
const (
	tableShare  = 35
	rarestTable = int64(5 * time.Second)
)

// topOptions are the flags of top, parsed.
type topOptions struct {
	trace    traceOptions
	interval time.Duration
}

func newTopCommand(a *app) *cobra.Command {
	var (
		o       topOptions
		filters filterFlags
		from    replayFlags
		mode    string
	)
	t := &o.trace
	cmd := &cobra.Command{
		Use:     "top",
		Short:   "Show all listeners as a live table, the worst first",
		Long:    topHelp,
		Example: topExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if from.path != "" {
				t.filter, err = filters.recorded()
			} else {
				t.filter, err = filters.filter()
			}
			if err != nil {
				return err
			}
			if t.mode, err = parseMode(mode); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			how, err := from.parse(cmd, a.env.now().Location(), "mode")
			if err != nil {
				return err
			}
			if err := a.fitsScreen(); err != nil {
				return err
			}
			if from.path != "" {
				return a.playTop(cmd.Context(), &o, how)
			}
			return a.liveTop(cmd.Context(), &o)
		},
	}
	t.diagnosis = diagnosisLine
	filters.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&mode, "mode", "auto", "how to watch the kernel: `mode` auto, fentry, kprobe or restricted")
	flags.DurationVar(&o.interval, "interval", time.Second, "look again after this `time`, which rates and waits are of")
	flags.DurationVar(&t.stallAfter, "stall-after", time.Second, "call it a stall when nobody accepts from a non-empty queue for this `time`")
	from.register(cmd, "play this recording instead of what happens now; -: standard input")
	flags.BoolVar(&t.noColor, "no-color", false, "no colours (nor with NO_COLOR set)")
	flags.SortFlags = false
	return cmd
}

func (o *topOptions) check() error {
	if o.interval < shortestInterval {
		return usageErrorf("bad --interval: %s is too short to be looked at, give %s or more", o.interval, shortestInterval)
	}
	return o.trace.check()
}

// fitsScreen says what is wrong with the terminal.
func (a *app) fitsScreen() error {
	if !ui.IsTerminal(a.Out) {
		return usageErrorf("top needs a terminal, and standard output is none: use `acceptwatch trace` for lines, or `acceptwatch snapshot --watch 1s`")
	}
	if term := a.env.getenv("TERM"); term == "" || term == "dumb" {
		return usageErrorf("top needs a terminal that can be addressed, and TERM=%s is none: use `acceptwatch trace` for lines, or `acceptwatch snapshot --watch 1s`", term)
	}
	return nil
}

// showsUTF8 says whether the terminal's character set does, by the environment.
func showsUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := getenv(name); value != "" {
			value = strings.ToUpper(value)
			return strings.Contains(value, "UTF-8") || strings.Contains(value, "UTF8")
		}
	}
	return false
}

// liveTop attaches and shows what happens, until the user quits.
func (a *app) liveTop(ctx context.Context, o *topOptions) error {
	asked := sourceOptions{Mode: o.trace.mode, Filter: o.trace.filter, Frugal: true}
	return a.attach(ctx, asked, func(src source) error {
		view := newTopView(o.interval, !showsUTF8(a.env.getenv))
		return a.onScreen(ctx, o, view, func(ctx context.Context, a *app) error {
			clock := newWallClock(&a.env)
			view.clock = clock
			l := newLive(a, src, &o.trace, view, clock)
			l.brief, l.measures = true, true
			l.sampleEvery, l.measureEvery = int64(o.interval), int64(o.interval)
			l.share, l.rarest = tableShare, rarestTable
			l.stepped = func(now int64) error {
				l.walkEvery = walkEvery
				if view.opened() {
					l.walkEvery = min(max(int64(time.Second), int64(o.interval)), walkEvery)
				}
				if stalled, is := view.unexplained(); is {
					l.examine(&stalled)
				}
				if now-l.told >= ownersEvery {
					l.told = now
					l.hosts.forget()
				}
				return nil
			}
			return l.run(ctx)
		})
	})
}

// playTop plays a recording, until the user quits.
func (a *app) playTop(ctx context.Context, o *topOptions, how replayOptions) error {
	reader, closer, err := a.openRecording(how.path)
	if err != nil {
		return err
	}
	defer closer.Close()
	shown := newTopView(o.interval, !showsUTF8(a.env.getenv))
	shown.player = newPlayer(a.env.monotonic)
	shown.player.redraw = shown.redraw
	r := &replay{opt: o.trace, how: how, reader: reader, player: shown.player}
	// Of what is no file, such as a pipe, nothing is there a second time.
	if info, err := os.Stat(how.path); how.path != stdName && err == nil && info.Mode().IsRegular() {
		shown.player.canSeek, r.last = true, a.endOf(how.path)
	}
	r.make = func(clock *wallClock, _ func() time.Time) view {
		shown.clock = clock
		return shown
	}
	shown.player.arrive = r.arrived
	err = a.onScreen(ctx, o, shown, func(ctx context.Context, a *app) error {
		r.app = a
		return r.run(ctx)
	})
	r.app = a
	return errors.Join(err, r.verdict())
}

// onScreen runs something while its view is on the screen, with a log that is
// shown there. It ends when the screen does; what would kill the process and leave
// the terminal as it is then, such as that its window is closed, ends it too.
func (a *app) onScreen(ctx context.Context, o *topOptions, view *topView, run func(context.Context, *app) error) (err error) {
	ctx, quit := signal.NotifyContext(ctx, unix.SIGHUP, unix.SIGQUIT)
	defer quit()
	screen, err := openTopScreen(view, !o.trace.noColor && ui.UseColor(a.Out, a.env.getenv))
	if err != nil {
		return err
	}
	shown := *a
	shown.log = newLog(view)
	shown.env.spawn = func(run func()) { a.env.spawn(func() { screen.guard(run) }) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		screen.guard(func() { screen.run(ctx, quit) })
	}()
	defer func() {
		quit()
		<-done
		screen.Fini()
		err = errors.Join(err, screen.failed)
	}()
	return run(ctx, &shown)
}
