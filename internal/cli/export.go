package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/export"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

const exportHelp = `Writes a recording for other programs; FILE may be - for standard input.

  jsonl     what trace -o json prints: events, listeners, losses, a summary
  csv       a table of the events, with the same names
  parquet   the same table, with real types: for DuckDB, pandas, Spark
  perfetto  a timeline for ui.perfetto.dev or chrome://tracing: a track for each
            listener with its stalls, the depth of its queue, and the time that
            each connection was queued
  text      what trace prints, with every line`

const exportExamples = `  acceptwatch export night.trace --format jsonl | jq 'select(.event == "stall")'
  acceptwatch export night.trace --format parquet -o night.parquet
  acceptwatch export night.trace --format perfetto --since 14:02 --until 14:05 -o night.json`

// exportOptions are the flags of export, parsed.
type exportOptions struct {
	trace  traceOptions
	from   replayOptions
	format string
	out    string // empty or "-": standard output
}

func newExportCommand(a *app) *cobra.Command {
	var (
		o       exportOptions
		filters filterFlags
		kinds   []string
		from    replayFlags
	)
	t := &o.trace
	cmd := &cobra.Command{
		Use:               "export FILE --format FORMAT",
		Short:             "Write a recording as JSON Lines, CSV, Parquet, a timeline or text",
		Long:              exportHelp,
		Example:           exportExamples,
		ValidArgsFunction: completeRecording,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return usageErrorf("export takes one recording, and %d were given: several files of one recording can be joined with cat, `cat a b | acceptwatch export -`", len(args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if t.filter, err = filters.recorded(); err != nil {
				return err
			}
			if t.kinds, err = parseKinds(kinds); err != nil {
				return err
			}
			if err := t.check(); err != nil {
				return err
			}
			from.path = args[0]
			if o.from, err = from.parse(cmd, a.env.now().Location()); err != nil {
				return err
			}
			return a.export(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.format, "format", "f", "jsonl", "the `format`: jsonl, csv, parquet, perfetto or text")
	flags.StringVarP(&o.out, "output", "o", "", "write into this `file` (default: standard output)")
	filters.register(cmd)
	from.registerSpan(cmd)
	flags.DurationVar(&t.minWait, "min-wait", 0, "only accepted connections that waited this `time`: 100ms, 2s")
	flags.StringSliceVar(&kinds, "events", nil, "only events of these `kinds`: "+strings.Join(kindNames(), ", "))
	flags.DurationVar(&t.stallAfter, "stall-after", time.Second, "call it a stall when nobody accepts from a non-empty queue for this `time` (default: as recorded)")
	flags.SortFlags = false
	return cmd
}

// exporter writes what a recording holds, which may be several runs.
type exporter interface {
	// view makes the view of a run.
	view(clock *wallClock, now func() time.Time, h *recording.Header) view
	// close writes the end.
	close() error
}

func (a *app) export(ctx context.Context, o *exportOptions) error {
	makers := map[string]func(io.Writer) exporter{
		"jsonl":    func(w io.Writer) exporter { return &jsonExport{w} },
		"text":     func(w io.Writer) exporter { return &textExport{w} },
		"csv":      func(w io.Writer) exporter { return &tableExport{to: export.NewCSV(w)} },
		"parquet":  func(w io.Writer) exporter { return &tableExport{to: export.NewParquet(w)} },
		"perfetto": func(w io.Writer) exporter { return &timelineExport{out: w} },
	}
	maker := makers[o.format]
	if maker == nil {
		return usageErrorf("bad --format: %q is no format, choose jsonl, csv, parquet, perfetto or text", o.format)
	}
	toStdout := o.out == "" || o.out == stdName
	if toStdout && o.format == "parquet" && ui.IsTerminal(a.Out) {
		return usageErrorf("Parquet is not for a terminal: give -o a file")
	}
	if !toStdout {
		if err := a.notItself(o.from.path, "--output", o.out); err != nil {
			return err
		}
	}
	var target *newFile
	reader, closer, err := a.openRecording(o.from.path)
	if err != nil {
		return err
	}
	defer closer.Close()
	out := a.Out
	if !toStdout {
		if target, err = createFile(o.out); err != nil {
			return err
		}
		defer target.discard()
		out = target
	}
	buffered := bufio.NewWriterSize(out, 1<<16)
	to := maker(buffered)
	o.trace.json = true // what else there is to say is logged
	r := &replay{app: a, opt: o.trace, how: o.from, reader: reader}
	r.make = func(clock *wallClock, now func() time.Time) view { return to.view(clock, now, r.header) }
	if err := r.run(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := to.close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", o.format, err)
	}
	if target != nil {
		if err := target.keep(); err != nil {
			return err
		}
	}
	return r.verdict()
}

type jsonExport struct{ out io.Writer }

func (e *jsonExport) view(clock *wallClock, _ func() time.Time, _ *recording.Header) view {
	return newJSONView(e.out, clock)
}
func (e *jsonExport) close() error { return nil }

type textExport struct{ out io.Writer }

func (e *textExport) view(clock *wallClock, now func() time.Time, _ *recording.Header) view {
	return newTextView(ui.Options{
		Out: e.out, All: true, Width: func() int { return 0 }, Wall: clock.at, Now: now,
	})
}
func (e *textExport) close() error { return nil }

// tableExport writes the events only.
type tableExport struct {
	to interface {
		Write(*export.EventRow) error
		Close() error
	}
	clock *wallClock
	err   error
}

func (e *tableExport) view(clock *wallClock, _ func() time.Time, _ *recording.Header) view {
	e.clock = clock
	return e
}
func (e *tableExport) close() error               { return e.to.Close() }
func (e *tableExport) begin(*ui.Header)           {}
func (e *tableExport) tick()                      {}
func (e *tableExport) end(*ui.Summary, time.Time) {}
func (e *tableExport) flush() error               { return e.err }

func (e *tableExport) line(l *ui.Line) {
	row := export.RowOf(l.Event, e.clock.at(l.Time), l.Listener)
	if err := e.to.Write(&row); e.err == nil {
		e.err = err
	}
}

// timelineExport writes one timeline, which begins with the first run.
type timelineExport struct {
	out   io.Writer
	to    *export.Perfetto
	clock *wallClock
	now   func() time.Time
	err   error
}

func (e *timelineExport) view(clock *wallClock, now func() time.Time, h *recording.Header) view {
	e.clock, e.now = clock, now
	if e.to == nil {
		e.to = export.NewPerfetto(e.out, h.Host, clock.at(h.Start))
	}
	return e
}

func (e *timelineExport) close() error {
	if e.to == nil { // there is no run in it
		return nil
	}
	return e.to.Close()
}

func (e *timelineExport) begin(h *ui.Header) {
	for i := range h.Listeners {
		e.row(&h.Listeners[i].Row)
	}
}
func (e *timelineExport) tick()                      {}
func (e *timelineExport) end(*ui.Summary, time.Time) {}
func (e *timelineExport) flush() error               { return e.err }

func (e *timelineExport) line(l *ui.Line) {
	e.keep(e.to.Event(l.Event, e.clock.at(l.Time), l.Listener))
}

func (e *timelineExport) rows(rows []listener.Row) {
	for i := range rows {
		e.row(&rows[i])
	}
}

func (e *timelineExport) row(r *listener.Row) {
	if r.Key.Addr.IsValid() {
		e.keep(e.to.Depth(e.clock.at(r.Time), r.Key.NetNS, r.Key.Addr, r.Depth))
	}
}

func (e *timelineExport) keep(err error) {
	if e.err == nil {
		e.err = err
	}
}
