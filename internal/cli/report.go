package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/report"
	"acceptwatch/internal/ui"
)

const reportHelp = `Tells what happened in a recording: in words first, then the worst intervals,
how long clients waited before they gave up, the longest waits, and what each
listener did. --html writes all of it as one page with charts, which opens from
disk and needs no network. FILE may be - for standard input.`

const reportExamples = `  acceptwatch report incident.awt
  acceptwatch report --html incident.html incident.awt
  acceptwatch report --since 14:02 --until 14:05 incident.awt
  acceptwatch report -o json incident.awt | jq 'select(.type == "stall")'`

// reportOptions are the flags of report, parsed.
type reportOptions struct {
	from       replayOptions
	html       string
	json       bool
	noColor    bool
	utc        bool
	stallAfter time.Duration
}

func newReportCommand(a *app) *cobra.Command {
	var (
		o      reportOptions
		output string
		from   replayFlags
	)
	cmd := &cobra.Command{
		Use:               "report FILE",
		Short:             "Tell what happened in a recording, as text, JSON or a page",
		Long:              reportHelp,
		Example:           reportExamples,
		ValidArgsFunction: completeRecording,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf("report takes one FILE, and got %d: name a trace file, or - for standard input", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.json, err = parseOutput(output); err != nil {
				return err
			}
			if o.stallAfter < 0 {
				return usageErrorf("bad --stall-after: %s is over before it begins, give a time such as 1s", o.stallAfter)
			}
			from.path = args[0]
			if o.from, err = from.parse(cmd, a.env.now().Location()); err != nil {
				return err
			}
			return a.report(&o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.html, "html", "", "write the report as a page to this `file`, and no text")
	flags.StringVarP(&output, "output", "o", "text", "output `format`: text or json (JSON Lines)")
	from.registerSpan(cmd)
	flags.DurationVar(&o.stallAfter, "stall-after", 0, "call it a stall when nobody accepts from a non-empty queue for this `time` (default: as recorded, or 1s)")
	flags.BoolVar(&o.utc, "utc", false, "tell times of day in UTC (default: in the local zone)")
	flags.BoolVar(&o.noColor, "no-color", false, "no colours (nor with NO_COLOR set, nor in a pipe)")
	flags.SortFlags = false
	return cmd
}

// report reads a trace and writes a report of each recording in it.
func (a *app) report(o *reportOptions) error {
	if err := a.notItself(o.from.path, "--html", o.html); err != nil {
		return err
	}
	r, closer, err := a.openRecording(o.from.path)
	if err != nil {
		return err
	}
	defer closer.Close()
	zone := a.env.now().Location()
	if o.utc {
		zone = time.UTC
	}
	n, damages := 0, 0
	options := report.Options{StallAfter: o.stallAfter}
	if o.from.since.given || o.from.until.given {
		options.Span = o.from.span
	}
	err = report.Each(r, options, func(rep *report.Report) error {
		n++
		damages += int(rep.Flaws.Damages)
		if o.html != "" {
			page := numberedPage(o.html, n)
			if err := a.notItself(o.from.path, "--html", page); err != nil {
				return err
			}
			return a.reportPage(rep, page, zone)
		}
		if o.json {
			return report.WriteJSON(a.Out, rep)
		}
		if n > 1 {
			if _, err := io.WriteString(a.Out, "\n"); err != nil {
				return err
			}
		}
		return report.WriteText(a.Out, rep, report.TextOptions{
			Color: !o.noColor && ui.UseColor(a.Out, a.env.getenv), Width: ui.Width(a.Out), Zone: zone,
		})
	})
	if errors.Is(err, report.ErrAfterEnd) {
		return usageErrorf("--since is after the end of %s", inputName(o.from.path))
	}
	if err != nil {
		return err
	}
	return a.verdict(o.from.path, r.Err(), r.Skipped(), damages)
}

// reportPage writes a page into a file.
func (a *app) reportPage(rep *report.Report, path string, zone *time.Location) error {
	f, err := createFile(path)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := report.WriteHTML(f, rep, report.HTMLOptions{Zone: zone}); err != nil {
		return fmt.Errorf("write %s: %w", path, reason(err))
	}
	if err := f.keep(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Err, "acceptwatch: wrote %s\n", path)
	return err
}

// numberedPage is the path of the n-th page: of a file that holds several
// recordings, the second is in out-2.html.
func numberedPage(path string, n int) string {
	if n == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), n, ext)
}
