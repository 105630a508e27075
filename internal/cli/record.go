package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/fence"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

const recordHelp = `Records what happens in accept queues into a file, for trace -r and export, or
for another day. It ends on Ctrl-C, after --duration, or with a COMMAND that is
run meanwhile, whose exit code it then returns. The recording of a killed
recorder can be read up to its last second.

With --rotate-size and --rotate-every, the file that is being written has the
given name, and those before it a number appended, the latest with the greatest.

--min-wait and --events leave events out of the recording; counters stay exact.

Flight recorder: --last keeps the recent past in memory only. When a --trigger
fires, the past and what comes next are written into a file of its own in the
directory -w, until no trigger has fired for --calm. SIGUSR1 does so at once.
A trigger is one or more conditions, joined by | (or) and & (and, which binds
closer), and is asked of each listener by itself:

  close_wait, reset, purged, overflow, accept_error, accepted
           by themselves: at least one in the last second. With a number:
           close_wait>=10/s
  wait>1s  a connection that was accepted in the last second had waited, or one
           that is queued has waited, longer than that
  depth>90%, depth>100
           entries in the queue, as a part of its places or by number
  stall    connections are queued and nobody has accepted for --stall-after`

const recordExamples = `  acceptwatch record -w night.trace --port 8000
  acceptwatch record -w night.trace --rotate-every 1h --keep 24
  acceptwatch record -w test.trace -- ./loadtest.sh
  acceptwatch record -w - --duration 10s | ssh host 'cat > remote.trace'
  acceptwatch record --last 10m --trigger 'close_wait>=1/s | wait>1s | stall' -w /var/lib/acceptwatch`

// recordOptions are the flags of record, parsed.
type recordOptions struct {
	trace   traceOptions
	into    fileFlags
	command []string
	flight  flightFlags
}

func newRecordCommand(a *app) *cobra.Command {
	var (
		o       recordOptions
		filters filterFlags
		kinds   []string
		mode    string
	)
	t := &o.trace
	cmd := &cobra.Command{
		Use:     "record -w FILE [-- COMMAND...]",
		Short:   "Record what happens in accept queues into a file",
		Long:    recordHelp,
		Example: recordExamples,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
				return usageErrorf("record takes flags only, and %q is none: a command to run comes after --", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if t.filter, err = filters.filter(); err != nil {
				return err
			}
			if t.kinds, err = parseKinds(kinds); err != nil {
				return err
			}
			if t.mode, err = parseMode(mode); err != nil {
				return err
			}
			if err := t.check(); err != nil {
				return err
			}
			if err := checkDuration(cmd, t.duration); err != nil {
				return err
			}
			o.command = args
			if err := o.check(cmd, a); err != nil {
				return err
			}
			if o.flight.on() {
				return a.fly(cmd.Context(), &o)
			}
			return a.record(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.into.path, "write", "w", "", "record into this `file`; -: standard output; with --last a directory")
	filters.register(cmd)
	flags.StringVar(&mode, "mode", "auto", "how to watch the kernel: `mode` auto, fentry, kprobe or restricted")
	flags.DurationVar(&t.minWait, "min-wait", 0, "leave out accepted connections that waited less than this `time`")
	flags.StringSliceVar(&kinds, "events", nil, "record only events of these `kinds`: "+strings.Join(kindNames(), ", "))
	flags.DurationVar(&t.duration, "duration", 0, "end after this `time` (default: on Ctrl-C, or with the command)")
	flags.DurationVar(&t.stallAfter, "stall-after", time.Second, "call it a stall when nobody accepts from a non-empty queue for this `time`")
	flags.StringVar(&o.into.size, "rotate-size", "", "begin another file when one has this `size`: 64M, 1G")
	flags.DurationVar(&o.into.options.MaxAge, "rotate-every", 0, "begin another file after this `time`")
	flags.IntVar(&o.into.options.Keep, "keep", 0, "keep this `number` of files that were ended, and remove older ones (default: all)")
	flags.BoolVar(&o.into.options.NoSync, "no-sync", false, "do not ask the disk to keep what was written, which is done once a second")
	o.flight.register(cmd)
	flags.SortFlags = false
	return cmd
}

func (o *recordOptions) check(cmd *cobra.Command, a *app) error {
	if o.into.path == "" {
		return usageErrorf("record needs to know where to: give -w FILE, or -w - for standard output")
	}
	if len(o.command) > 0 && o.into.path == stdName {
		return usageErrorf("the output of the command and the recording do not go to standard output both: give -w a file")
	}
	if err := o.flight.parse(cmd, &o.into); err != nil {
		return err
	}
	if o.flight.on() {
		return nil
	}
	return o.into.parse(a.Out)
}

// record records until ctx ends, or the command does.
func (a *app) record(ctx context.Context, o *recordOptions) error {
	command, err := newCommand(a, o.command)
	if err != nil {
		return err
	}
	recording, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := sourceOptions{Mode: o.trace.mode, Filter: o.trace.filter, MinWait: o.trace.minWait, Kinds: sourceKinds(o.trace.kinds)}
	var (
		file  *recordFile
		shown *progress
	)
	err = a.attach(recording, asked, func(src source) error {
		clock := newWallClock(&a.env)
		shown = newProgress(a)
		l := newLive(a, src, &o.trace, shown, clock)
		if file, err = o.into.create(a.Out, headerOf(l, asked)); err != nil {
			return err
		}
		shown.records(file)
		l.record(&file.tape)
		l.later = fence.Later{Files: o.into.rotates(), Signal: command != nil}
		l.attached = func() { command.start(ctx, cancel) }
		l.stepped = func(int64) error {
			shown.lost = lossesOf(l.table.Losses())
			return nil
		}
		return l.run(recording)
	})
	if file != nil {
		err = file.closed(err)
		shown.over(file)
	}
	if status := command.wait(); err == nil {
		err = status
	}
	return err
}

// attach opens the source for as long as run runs.
func (a *app) attach(ctx context.Context, asked sourceOptions, run func(source) error) error {
	src, err := a.openSource(ctx, asked)
	if err != nil {
		return err
	}
	err = run(src)
	if closing := src.Close(); err == nil {
		err = closing
	}
	return err
}

// command is what is run while it is recorded; a nil one is none.
type command struct {
	cmd  *exec.Cmd
	done chan error // of one that was started
}

// newCommand finds the program.
func newCommand(a *app, args []string) (*command, error) {
	if len(args) == 0 {
		return nil, nil
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, fmt.Errorf("cannot run %q: %v", args[0], errors.Unwrap(err))
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, a.Out, a.Err
	return &command{cmd: cmd}, nil
}

// start starts it. When it ends, ended is called; when ctx ends first, it is
// told to end, unless it does so by itself: a Ctrl-C has reached it too.
func (c *command) start(ctx context.Context, ended func()) {
	if c == nil {
		return
	}
	c.done = make(chan error, 1)
	if err := c.cmd.Start(); err != nil {
		c.done <- fmt.Errorf("run %s: %w", c.cmd.Path, err)
		ended()
		return
	}
	gone := make(chan struct{})
	go func() {
		err := c.cmd.Wait()
		close(gone)
		c.done <- err
		ended()
	}()
	go func() {
		select {
		case <-gone:
			return
		case <-ctx.Done():
		}
		select {
		case <-gone:
		case <-time.After(commandGrace):
			_ = c.cmd.Process.Signal(unix.SIGTERM)
		}
	}()
}

// commandGrace is how long a command may go on after the recorder was told to
// end.
const commandGrace = time.Second

// wait gives the end of the command as an error: nil for exit code 0.
func (c *command) wait() error {
	if c == nil || c.done == nil {
		return nil
	}
	err := <-c.done
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exitStatusError{128 + int(status.Signal())}
	}
	return &exitStatusError{exit.ExitCode()}
}

// progress is the view of record: one line on a terminal that is written again
// and again, and one at the end.
type progress struct {
	app      *app
	terminal bool
	file     *recordFile
	lost     uint64

	began, told time.Time
	events      uint64 // when it was told
	rate        float64
	width       int // of the line that is there
	summary     *ui.Summary
}

const tellEvery = 500 * time.Millisecond

func newProgress(a *app) *progress {
	return &progress{app: a, terminal: ui.IsTerminal(a.Err)}
}

func (p *progress) records(f *recordFile) { p.file = f }

func (p *progress) begin(h *ui.Header) {
	p.began = p.app.env.now()
	p.told = p.began
	p.app.log.Info().Str("mode", h.Mode).Str("filter", h.Filter).Strs("limits", h.Limits).Msg("recording to " + p.file.name)
	if h.Waiting != "" {
		p.app.log.Info().Msg(h.Waiting + "; waiting for it")
	}
}

func (p *progress) line(*ui.Line) {}

func (p *progress) tick() {
	now := p.app.env.now()
	if since := now.Sub(p.told); p.terminal && since >= tellEvery {
		p.rate = float64(p.file.events-p.events) / since.Seconds()
		p.told, p.events = now, p.file.events
		p.write(fmt.Sprintf("%s  %s, %s/s, %s, %s", ui.Duration(now.Sub(p.began)), ui.Plural(p.file.events, "event"),
			ui.Count(uint64(p.rate)), sizeWords(p.file.size()), ui.Count(p.lost)+" lost"))
	}
}

// write puts text where the line was.
func (p *progress) write(text string) {
	if width := ui.Width(p.app.Err); width > 0 && len(text) >= width {
		text = text[:width-1]
	}
	fmt.Fprintf(p.app.Err, "\r%s\x1b[K", text)
	p.width = len(text)
}

func (p *progress) clear() {
	if p.width > 0 {
		p.write("")
		p.width = 0
	}
}

func (p *progress) end(s *ui.Summary, _ time.Time) { p.summary = s }

func (p *progress) flush() error { return nil }

// over tells what was recorded.
func (p *progress) over(f *recordFile) {
	p.clear()
	if f.tooLarge != nil {
		p.app.log.Warn().Err(f.tooLarge).Msg("something is missing in the recording")
	}
	if p.summary == nil {
		return
	}
	for _, note := range p.summary.Notes {
		p.app.log.Warn().Msg(note)
	}
	text := fmt.Sprintf("recorded %s of %s in %s, %s", ui.Plural(f.events, "event"), ui.Duration(p.summary.Duration), f.name, sizeWords(f.size()))
	if f.part() > 1 {
		text += fmt.Sprintf(", the last of %d files", f.part())
	}
	lost := ""
	for _, loss := range p.summary.Losses {
		if loss.Count > 0 {
			lost += "; lost: " + loss.String()
		}
	}
	if lost == "" {
		lost = "; 0 events lost"
	}
	fmt.Fprintln(p.app.Err, text+lost)
}

func lossesOf(all []listener.Loss) (n uint64) {
	for i := range all {
		n += all[i].Count
	}
	return n
}

// sizeWords are bytes as "1.2 MiB".
func sizeWords(n int64) string {
	const unit = 1024
	if n < unit {
		return ui.Plural(n, "byte")
	}
	value, prefix := float64(n)/unit, 0
	for ; value >= unit && prefix < 3; prefix++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[prefix])
}
