package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/fence"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/trigger"
	"acceptwatch/internal/ui"
)

const snapshotHelp = `Looks once at the accept queues: what is stuck, since when, and whose it is. It
attaches to nothing, and needs no privileges for the listeners of its own
network namespace. Per listener it shows how many connections are queued, in
which states, for how long, what they have sent, how many were dropped so far,
and who holds it; the worst come first.

CLOSE_WAIT has two causes, which are shown apart: not accepted (in the queue, no
process has it), and held open by a process that accepted and never closed it.

As root the queues are walked (iter/tcp), and everything is exact: mode walk.
Otherwise, in mode diag, sockets are listed by sock_diag. Then ages are as exact
as the kernel's tick (1 to 10 ms), and connections that were reset, which it does
not list, are derived: what is in the queue and not listed, nor when it is listed
again. Of a queue that moves meanwhile, they are not known.

Of a listener at all addresses, --addr, -4 and -6 choose connections; its depth
stays that of the whole queue, and --watch rests as long as a look takes.

--fail-on makes the exit code 4 when a condition is met at a listener, for health
checks, and 1 where it cannot be judged: no listener of --pid or --comm is seen,
and there are processes that could not be inspected. Conditions are joined by |
and &:

  close_wait, reset   connections in the queue whose client hung up, or reset
  held_close_wait     connections that a process accepted and did not close,
                      though the client has hung up
  overflow            SYNs and last ACKs dropped since the listener was made
  wait                how long the oldest connection has been queued: wait>10s
  depth               connections in the queue, of several at one address the
                      fullest: depth>100, or depth>90%`

const snapshotExamples = `  acceptwatch snapshot
  acceptwatch snapshot --port 8000 --connections
  acceptwatch snapshot --comm nginx --watch 1s
  acceptwatch snapshot -p 8000 --fail-on 'close_wait | depth>=90% | wait>5s'
  acceptwatch snapshot -o json | jq 'select(.depth > 0)'`

// snapshotOptions are the flags of snapshot, parsed.
type snapshotOptions struct {
	filter      filter.Filter
	cgroups     map[uint64]bool // that listeners must be of; nil: any
	mode        string          // walk or diag; empty: the best
	connections bool
	watch       time.Duration // 0: one look
	duration    time.Duration
	failOn      *trigger.Trigger // nil: none
	json        bool
	noColor     bool
	all         bool
}

// Ways to look into queues.
const (
	modeWalk = "walk"
	modeDiag = "diag"
)

func newSnapshotCommand(a *app) *cobra.Command {
	var (
		o                    snapshotOptions
		filters              filterFlags
		mode, output, failOn string
	)
	cmd := &cobra.Command{
		Use:     "snapshot",
		Short:   "Look once at what is queued, since when and whose it is; no eBPF needed",
		Long:    snapshotHelp,
		Example: snapshotExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.filter, err = filters.filter(); err != nil {
				return err
			}
			if filters.cgroup != "" {
				if o.cgroups, err = filter.CgroupsBelow(filters.cgroup); err != nil {
					return usageErrorf("bad --cgroup: %w", err)
				}
			}
			switch mode {
			case "auto":
			case modeWalk, modeDiag:
				o.mode = mode
			default:
				return usageErrorf("bad --mode: there is no mode %q of snapshot, choose auto, walk or diag", mode)
			}
			if o.json, err = parseOutput(output); err != nil {
				return err
			}
			if cmd.Flags().Changed("fail-on") {
				if o.failOn, err = trigger.ParseLook(failOn); err != nil {
					return usageErrorf("bad --fail-on: %w", err)
				}
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.snapshot(cmd.Context(), &o)
		},
	}
	filters.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.connections, "connections", false, "list the queued connections, the oldest first")
	flags.DurationVar(&o.watch, "watch", 0, "look again after this `time`, until Ctrl-C: 1s")
	flags.DurationVar(&o.duration, "duration", 0, "end --watch after this `time`")
	flags.StringVar(&failOn, "fail-on", "", "exit with 4 if this `condition` is met at a listener: 'close_wait>0 | wait>10s'")
	flags.StringVar(&mode, "mode", "auto", "how to look into queues: `mode` auto, walk (iter/tcp) or diag (sock_diag)")
	flags.StringVarP(&output, "output", "o", "text", "output `format`: text or json (JSON Lines)")
	flags.BoolVar(&o.noColor, "no-color", false, "no colours (nor with NO_COLOR set, nor in a pipe)")
	flags.BoolVar(&o.all, "all", false, "leave no listeners out, on a terminal too")
	flags.SortFlags = false
	return cmd
}

// fastestWatch bounds what looking costs the host.
const fastestWatch = 100 * time.Millisecond

func (o *snapshotOptions) check(cmd *cobra.Command) error {
	watch := cmd.Flags().Changed("watch")
	switch {
	case watch && o.watch < fastestWatch:
		return usageErrorf("bad --watch: %s is too often, give %s or more", o.watch, fastestWatch)
	case cmd.Flags().Changed("duration") && !watch:
		return usageErrorf("--duration is how long to --watch: give both, or neither for one look")
	}
	return checkDuration(cmd, o.duration)
}

// snapshot looks, and looks again if asked to, until ctx ends.
func (a *app) snapshot(ctx context.Context, o *snapshotOptions) (err error) {
	l := newLooker(a, o)
	defer func() {
		if closeErr := l.close(); err == nil {
			err = closeErr
		}
	}()
	v := a.snapshotView(o, l.clock)
	start := a.env.monotonic()
	for first := true; ; first = false {
		began := a.env.monotonic()
		seen, err := l.look(ctx)
		if err != nil {
			return err
		}
		condition := o.met(seen)
		if condition == "" {
			seen.notes = append(seen.notes, o.unjudged(seen)...)
		}
		if err := v.show(seen); err != nil {
			return err
		}
		if condition != "" {
			return &failOnError{condition}
		}
		now := a.env.monotonic()
		next := max(began+int64(o.watch), now+(now-began)) // looking takes no more than half of a processor
		if o.watch == 0 || o.duration > 0 && next > start+int64(o.duration) {
			if o.failOn != nil && seen.remedy != "" {
				return fmt.Errorf("--fail-on could not be judged: %s; %s", seen.waiting, seen.remedy)
			}
			return nil
		}
		if first {
			a.giveUp(fence.Later{})
		}
		if !a.env.pause(ctx, time.Duration(next-now)) || readerGone(a.Out) {
			return nil
		}
	}
}

// seen is what one look found, of what the filter selects.
type seen struct {
	mode    string
	at      time.Time
	took    time.Duration
	queues  []ui.Queue
	waiting string // says what does not listen; empty: nothing
	remedy  string // it may listen all the same; what to do to be sure
	losses  []listener.Loss
	notes   []string
	partial bool // not everything could be looked at
}

// met is the condition that is met, and where; empty: none is.
func (o *snapshotOptions) met(s *seen) string {
	if o.failOn == nil {
		return ""
	}
	for i := range s.queues {
		q := &s.queues[i]
		if why, fires := o.failOn.Fires(valuesOf(q)); fires {
			return why + " at " + q.Key.Addr.String()
		}
	}
	return ""
}

// unjudged are the measures of the condition that are not known of all, so that
// it may be met although it does not seem to be.
func (o *snapshotOptions) unjudged(s *seen) []string {
	if o.failOn == nil {
		return nil
	}
	var notes []string
	for i := range s.queues {
		q := &s.queues[i]
		for _, part := range []struct {
			measure string
			unknown bool
			why     string
		}{
			{"wait", q.Look.AgeUnknown > 0, "the age of some queued connections is not known"},
			{"close_wait", q.Unaccepted.NotLooked > 0, "the state of some queued connections is not known"},
			{"reset", q.Unaccepted.NotLooked > 0, "the state of some queued connections is not known"},
			{"held_close_wait", !q.HeldKnown, "accepted connections could not be listed"},
		} {
			if part.unknown && o.failOn.Asks(part.measure) {
				notes = append(notes, "--fail-on "+part.measure+" could not be judged at "+q.Key.Addr.String()+": "+part.why)
			}
		}
	}
	return notes
}

// valuesOf is a queue in the words of conditions.
func valuesOf(q *ui.Queue) *trigger.Values {
	one, _ := q.Look.Fullest()
	v := &trigger.Values{
		CloseWait: float64(q.Unaccepted.CloseWait), Reset: float64(q.Unaccepted.Close),
		HeldCloseWait: float64(q.HeldSockets()), Overflow: float64(q.Look.Drops), Depth: one.Depth, Places: one.Backlog + 1,
	}
	if age, known := q.Oldest(); known {
		v.Wait = age
	}
	return v
}
