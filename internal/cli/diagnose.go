package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

const diagnoseHelp = `Says why a listener's connections are not accepted. It watches the queue and the
threads of the processes that hold the listener for a while (--for), and names
causes, the likeliest first, with the evidence, what would refute it, and what to
do. If the evidence does not tell, it says so.

It only reads, and stops nothing. Of a server's memory it reads the arguments of
poll() and select(), and with eBPF the frame pointers of stacks: no data. At most
512 threads are looked at, of all listeners together, 12 times each.

Without eBPF (--mode diag, or where nothing else works) it goes by /proc,
cgroups and sock_diag alone, and says what that leaves open.`

const diagnoseExamples = `  sudo acceptwatch diagnose --port 8000
  sudo acceptwatch diagnose --port 8000 --for 10s -o json | jq '.verdicts[0]'
  sudo acceptwatch diagnose --comm nginx --mode diag`

// diagnoseOptions are the flags of diagnose, parsed.
type diagnoseOptions struct {
	trace traceOptions
	span  time.Duration
	diag  bool // no eBPF
	auto  bool // eBPF if it works
}

// mostDiagnosed is how many listeners one run looks at.
const mostDiagnosed = 8

func newDiagnoseCommand(a *app) *cobra.Command {
	var (
		o            diagnoseOptions
		filters      filterFlags
		mode, output string
	)
	cmd := &cobra.Command{
		Use:     "diagnose",
		Short:   "Say why a listener's connections are not accepted",
		Long:    diagnoseHelp,
		Example: diagnoseExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.trace.filter, err = filters.filter(); err != nil {
				return err
			}
			if o.trace.json, err = parseOutput(output); err != nil {
				return err
			}
			if o.diag, o.auto = mode == diagMode, mode == "auto"; !o.diag {
				if o.trace.mode, err = parseMode(mode); err != nil {
					return err
				}
			}
			if o.span < time.Second || o.span > time.Hour {
				return usageErrorf("bad --for: in %s nothing can be seen to stand still, give 1s to 1h", o.span)
			}
			o.trace.stallAfter, o.trace.diagnosis = time.Second, diagnosisOff
			return a.diagnose(cmd.Context(), &o)
		},
	}
	filters.register(cmd)
	flags := cmd.Flags()
	flags.DurationVar(&o.span, "for", 5*time.Second, "watch for this `time`")
	flags.StringVar(&mode, "mode", "auto", "how to watch the kernel: `mode` auto, fentry, kprobe, restricted or diag (no eBPF)")
	flags.StringVarP(&output, "output", "o", "text", "output `format`: text or json (JSON Lines)")
	flags.BoolVar(&o.trace.noColor, "no-color", false, "no colours (nor with NO_COLOR set, nor in a pipe)")
	flags.SortFlags = false
	return cmd
}

const diagMode = "diag"

// diagnose finds the listeners, watches them, and prints verdicts.
func (a *app) diagnose(ctx context.Context, o *diagnoseOptions) error {
	suspects, err := a.suspects(ctx, o)
	if err != nil {
		return err
	}
	v := a.traceView(&o.trace, newWallClock(&a.env), a.env.now)
	watch := func(src source, why string) error {
		all, err := a.examine(ctx, o, src, why, suspects)
		if err != nil {
			return err
		}
		for _, e := range all {
			v.(diagnosisView).diagnosis(&ui.Diagnosis{Evidence: e, Verdicts: diagnose.Judge(e), Full: true})
		}
		return v.flush()
	}
	if o.diag {
		return watch(nil, "as asked for")
	}
	src, err := a.openSource(ctx, sourceOptions{Mode: o.trace.mode, Filter: o.trace.filter})
	if err != nil && o.auto && exitCode(err) == exitUnavailable {
		return watch(nil, err.Error())
	}
	if err != nil {
		return err
	}
	err = watch(src, "")
	if closing := src.Close(); err == nil {
		err = closing
	}
	return err
}

// suspects are the listening sockets that the filter selects, the fullest first.
func (a *app) suspects(ctx context.Context, o *diagnoseOptions) ([]suspect, error) {
	hosts := &gatherer{host: &liveHost{env: &a.env}, filter: &o.trace.filter}
	var sockets []hostSocket
	query := sockdiag.Query{States: sockdiag.States(sockdiag.Listen)}
	err := a.env.sockets(ctx, query, &o.trace.filter, func(s *hostSocket) {
		if o.trace.filter.MatchListener(s.NetNS, s.LocalUnmapped(), s.V6Only == sockdiag.V6OnlyYes) {
			sockets = append(sockets, *s)
		}
	})
	switch {
	case broken(err) && len(sockets) == 0:
		return nil, err
	case err != nil:
		a.log.Warn().Msg(err.Error())
	}
	if o.trace.filter.ByHolder() && len(sockets) > 0 {
		held, err := hosts.heldBy(ctx)
		if err != nil {
			return nil, err
		}
		sockets = slices.DeleteFunc(sockets, func(s hostSocket) bool {
			return !slices.ContainsFunc(held, func(h heldSocket) bool { return h.Inode == s.Inode })
		})
	}
	if len(sockets) == 0 {
		switch text, remedy := hosts.notListening(ctx); {
		case remedy != "":
			return nil, fmt.Errorf("%s: %s", text, remedy)
		case text == "": // it filters by something else
			return nil, fmt.Errorf("nothing listens on %s: `ss -ltnp` lists what does", o.trace.filter.String())
		default:
			return nil, fmt.Errorf("%s: `ss -ltnp` lists what does", text)
		}
	}
	slices.SortStableFunc(sockets, func(a, b hostSocket) int { return int(b.RQueue) - int(a.RQueue) })
	if len(sockets) > mostDiagnosed {
		a.log.Warn().Msgf("%d listeners match, and the %d with the most entries in their queues are diagnosed: choose by --port, --addr or --pid", len(sockets), mostDiagnosed)
		sockets = sockets[:mostDiagnosed]
	}
	var inodes []uint32
	for _, s := range sockets {
		inodes = append(inodes, s.Inode)
	}
	held := a.env.holdersOf(inodes...)
	var list []suspect
	for _, s := range sockets {
		list = append(list, suspect{netns: s.NetNS, address: s.LocalUnmapped(), inode: s.Inode, holders: held, among: len(sockets)})
	}
	return list, nil
}

// examine gathers the evidence of all suspects at once, while the events of a
// source are read. Without a source it says why there is none.
func (a *app) examine(ctx context.Context, o *diagnoseOptions, src source, why string, suspects []suspect) ([]*diagnose.Evidence, error) {
	var (
		l    *live
		rows []listener.Row
		mode = diagMode
	)
	if src != nil {
		mode = src.Mode()
		l = newLive(a, src, &o.trace, silent{}, newWallClock(&a.env))
		if err := l.begin(ctx); err != nil {
			return nil, err
		}
		rows = l.table.Rows()
	}
	all := make([]*diagnose.Evidence, len(suspects))
	doctors := make([]*diagnostician, len(suspects))
	for i, s := range suspects {
		doctors[i] = newDiagnostician(&a.env, o.span, mode, mode != diagMode)
		before, _ := memberRow(rows, s.inode)
		doctors[i].begin(s, before)
		defer func() { doctors[i].cancel() }()
	}
	for left := len(all); left > 0; {
		if ctx.Err() != nil { // what was seen by then is judged
			for _, d := range doctors {
				d.end()
			}
		}
		if l == nil {
			time.Sleep(20 * time.Millisecond)
		} else if err := l.step(context.WithoutCancel(ctx), a.env.monotonic()); err != nil {
			return nil, err
		}
		for i, d := range doctors {
			if e := d.done(); e != nil {
				all[i] = e
				left--
			}
		}
	}
	if l == nil {
		for _, e := range all {
			e.Blind = append(noEvents(why), e.Blind...)
		}
		return all, nil
	}
	if err := l.look(true); err != nil {
		return nil, err
	}
	rows = l.table.Rows()
	for i, e := range all {
		e.Blind = append(slices.Clone(src.Limits()), e.Blind...)
		if row, ok := memberRow(rows, suspects[i].inode); ok {
			addEvents(e, &doctors[i].before, &row, l.lastAccepts.of(row.ID), mode)
		}
	}
	return all, nil
}

// namespace finds the network namespace with an inode.
func namespace(inode uint32) (*netns.NS, error) {
	ns, err := netns.Resolve(fmt.Sprintf("net:[%d]", inode))
	if err != nil {
		return nil, err
	}
	return &ns, nil
}
