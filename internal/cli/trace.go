package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/ui"
)

const traceHelp = `Shows a line for each connection that leaves an accept queue, and whatever goes
wrong in one: connections whose client gave up before accept, resets, those
refused because the queue was full, queues that nobody empties, and accept()
that fails, such as for want of file descriptors (EMFILE). It begins with what is queued already, and ends, on Ctrl-C
or after --duration, with a summary for each listener.

On a terminal, problems are always shown, but plain accepted lines at most 50 a
second, and refused connections and failed accepts at most 5 each a second and
listener; the rest is counted (--all: show all of them). A pipe gets everything.

  WAIT    how long the connection was in the queue. 0*: less than could be
          measured. ~: sampled, not measured
  DEPTH   connections in the queue after the event / backlog of the listener.
          ~: as of the last count, a moment before
  UNREAD  bytes that the client has sent and nobody has read
  BY      name[process/thread] that called accept()

When a stall begins, the threads of the server are looked at for 3 s, once a
stall and one listener at a time, and a line WHY says what keeps them; --diagnose
shows all of the evidence, as the command diagnose does.

-w records what happens into a file as well: all that the selected listeners do,
whatever lines are shown (--events, --min-wait). -r shows a recording as if it
happened now, with the filter that it was made with unless others are given; its
lines and its summary are those of then. --since and --until show a part of it,
and count from there.`

const traceExamples = `  acceptwatch trace --port 8000
  acceptwatch trace --comm nginx --min-wait 100ms
  acceptwatch trace --events overflow,accept_error,stall,stall_end
  acceptwatch trace --port 8000 --diagnose
  acceptwatch trace --duration 1m -o json > trace.jsonl
  acceptwatch trace --port 8000 -w incident.trace
  acceptwatch trace -r incident.trace --since 14:02 --until 14:05 --min-wait 1s`

// traceOptions are the flags of trace, parsed.
type traceOptions struct {
	filter     filter.Filter
	mode       string // empty: the best
	minWait    time.Duration
	kinds      []event.Kind // of lines; nil: all
	duration   time.Duration
	stallAfter time.Duration
	json       bool
	noColor    bool
	all        bool
	diagnosis  string // of stalls: a line, in full, or off
}

func newTraceCommand(a *app) *cobra.Command {
	var (
		o            traceOptions
		filters      filterFlags
		kinds        []string
		mode, output string
		from         replayFlags
		into         fileFlags
	)
	cmd := &cobra.Command{
		Use:     "trace",
		Short:   "Show what happens in accept queues, line by line, and a summary",
		Long:    traceHelp,
		Example: traceExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if from.path != "" {
				o.filter, err = filters.recorded()
			} else {
				o.filter, err = filters.filter()
			}
			if err != nil {
				return err
			}
			if o.kinds, err = parseKinds(kinds); err != nil {
				return err
			}
			if o.mode, err = parseMode(mode); err != nil {
				return err
			}
			if o.json, err = parseOutput(output); err != nil {
				return err
			}
			if o.diagnosis, err = parseDiagnosis(o.diagnosis); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			if err := checkDuration(cmd, o.duration); err != nil {
				return err
			}
			how, err := from.parse(cmd, a.env.now().Location(), "write", "mode", "duration")
			if err != nil {
				return err
			}
			if from.path != "" {
				return a.replay(cmd.Context(), &o, how, func(clock *wallClock, now func() time.Time) view {
					return a.traceView(&o, clock, now)
				})
			}
			if into.path == "" {
				return a.trace(cmd.Context(), &o)
			}
			if into.path == stdName {
				return usageErrorf("lines and a recording do not go to standard output both: give -w a file, or use `acceptwatch record -w -`")
			}
			return a.traceAndRecord(cmd.Context(), &o, &into)
		},
	}
	filters.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&mode, "mode", "auto", "how to watch the kernel: `mode` auto, fentry, kprobe or restricted")
	flags.DurationVar(&o.minWait, "min-wait", 0, "show accepted lines only of connections that waited this `time`: 100ms, 2s")
	flags.StringSliceVar(&kinds, "events", nil, "show only lines of these `kinds`: "+strings.Join(kindNames(), ", "))
	flags.DurationVar(&o.duration, "duration", 0, "end after this `time` (default: on Ctrl-C)")
	flags.DurationVar(&o.stallAfter, "stall-after", time.Second, "call it a stall when nobody accepts from a non-empty queue for this `time`")
	flags.StringVar(&o.diagnosis, "diagnose", diagnosisLine, "when a stall begins, say why: `how`, line, full or off")
	flags.Lookup("diagnose").NoOptDefVal = diagnosisFull
	flags.StringVarP(&into.path, "write", "w", "", "record into this `file` too")
	from.register(cmd, "show this recording instead of what happens now; -: standard input")
	flags.StringVarP(&output, "output", "o", "text", "output `format`: text or json (JSON Lines)")
	flags.BoolVar(&o.noColor, "no-color", false, "no colours (nor with NO_COLOR set, nor in a pipe)")
	flags.BoolVar(&o.all, "all", false, "leave no lines out, on a terminal too")
	flags.SortFlags = false
	return cmd
}

func (o *traceOptions) check() error {
	switch {
	case o.minWait < 0:
		return usageErrorf("bad --min-wait: nobody waits %s, give a time such as 100ms", o.minWait)
	case o.stallAfter <= 0:
		return usageErrorf("bad --stall-after: with %s every queue would be stalled, give a time such as 1s", o.stallAfter)
	}
	return nil
}

// checkDuration refuses a --duration in which nothing can be seen; that there is
// none means for ever.
func checkDuration(cmd *cobra.Command, d time.Duration) error {
	if cmd.Flags().Changed("duration") && d <= 0 {
		return usageErrorf("bad --duration: %s is over before it begins, give a time such as 30s", d)
	}
	return nil
}

// lineKinds are the kinds that have lines.
func lineKinds() []event.Kind {
	return []event.Kind{event.Accepted, event.CloseWait, event.Reset, event.Purged,
		event.Overflow, event.AcceptError, event.ListenerClosed, event.Stall, event.StallEnd}
}

func kindNames() []string {
	var names []string
	for _, k := range lineKinds() {
		names = append(names, k.String())
	}
	return names
}

func parseKinds(words []string) ([]event.Kind, error) {
	var kinds []event.Kind
	for _, word := range words {
		k, err := event.ParseKind(strings.TrimSpace(word))
		if err != nil || !slices.Contains(lineKinds(), k) {
			return nil, usageErrorf("bad --events: %q is no kind of line, choose from %s", word, strings.Join(kindNames(), ", "))
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func parseMode(word string) (string, error) {
	switch word {
	case "auto":
		return "", nil
	case "fentry", "kprobe", restricted:
		return word, nil
	case "diag":
		return "", usageErrorf("bad --mode: diag has no events to trace, choose auto, fentry, kprobe or restricted")
	}
	return "", usageErrorf("bad --mode: there is no mode %q, choose auto, fentry, kprobe or restricted", word)
}

func parseOutput(word string) (json bool, err error) {
	switch word {
	case "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, usageErrorf("bad --output: %q is no format, choose text or json", word)
}

// trace attaches and shows what comes, until ctx ends.
func (a *app) trace(ctx context.Context, o *traceOptions) error {
	asked := sourceOptions{Mode: o.mode, Filter: o.filter, MinWait: o.minWait, Kinds: sourceKinds(o.kinds)}
	return a.watch(ctx, o, asked, func(*live) error { return nil })
}

// traceAndRecord is trace into a file too.
func (a *app) traceAndRecord(ctx context.Context, o *traceOptions, into *fileFlags) error {
	var file *recordFile
	asked := sourceOptions{Mode: o.mode, Filter: o.filter}
	err := a.watch(ctx, o, asked, func(l *live) (err error) {
		if file, err = into.create(a.Out, headerOf(l, asked)); err == nil {
			l.record(&file.tape)
		}
		return err
	})
	if file == nil {
		return err
	}
	return file.closed(err)
}

// watch attaches, lets prepare add to the run, and shows what comes.
func (a *app) watch(ctx context.Context, o *traceOptions, asked sourceOptions, prepare func(*live) error) error {
	src, err := a.openSource(ctx, asked)
	if err != nil {
		return err
	}
	clock := newWallClock(&a.env)
	if o.json {
		a.log.Info().Str("mode", src.Mode()).Str("filter", o.filter.String()).Strs("limits", src.Limits()).Msg("tracing")
	}
	l := newLive(a, src, o, a.traceView(o, clock, a.env.now), clock)
	if err = prepare(l); err == nil {
		err = l.run(ctx)
	}
	if closeErr := src.Close(); err == nil {
		err = closeErr
	}
	return err
}

// traceView is the view that the options ask for.
func (a *app) traceView(o *traceOptions, clock *wallClock, now func() time.Time) view {
	if o.json {
		return newJSONView(a.Out, clock)
	}
	return newTextView(ui.Options{
		Out: a.Out, Terminal: ui.IsTerminal(a.Out), All: o.all,
		Color: !o.noColor && ui.UseColor(a.Out, a.env.getenv),
		Width: func() int { return ui.Width(a.Out) },
		Wall:  clock.at, Now: now,
	})
}

// sourceKinds are the kinds to ask for, so that the lines of the wanted kinds
// can be made; nil: all.
func sourceKinds(lines []event.Kind) []event.Kind {
	var kinds []event.Kind
	for _, k := range lines {
		if k != event.Stall && k != event.StallEnd {
			kinds = append(kinds, k)
		}
	}
	if len(lines) > 0 && kinds == nil {
		kinds = []event.Kind{event.ListenerClosed}
	}
	return kinds
}
