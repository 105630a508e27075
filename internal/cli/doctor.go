package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"acceptwatch/internal/preflight"
	"acceptwatch/internal/probe"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

const doctorHelp = `Tries everything that acceptwatch needs of this kernel and of these privileges,
and says what works, what does not, what that means and what to do. Each kind of
eBPF program is loaded and attached once, and two connections to itself prove
that the hooks are called. Nothing is left behind.

Exits with 3 when no eBPF mode is possible.`

const doctorExamples = `  sudo acceptwatch doctor
  sudo acceptwatch doctor -o json | jq 'select(.status != "ok")'`

// doctorHost is what doctor asks this host.
type doctorHost struct {
	detect func() *preflight.Features
	// plan is the mode that the features allow.
	plan func(*preflight.Features) preflight.Plan
	// attach attaches in the plan's mode, and takes everything away again.
	attach func(context.Context) (attachment, error)
	// sockets lists listeners by sock_diag and forgets them.
	sockets func(context.Context) error
}

// attachment is what was seen while attached.
type attachment struct {
	plan      preflight.Plan // with what only attaching shows
	canary    preflight.Canary
	canaryErr error // the connection failed: the hooks are not proven
}

func newDoctorCommand(a *app) *cobra.Command {
	return doctorCommand(a, doctorHost{
		detect: preflight.Detect, plan: planned, attach: attachOnce, sockets: listSockets,
	})
}

func doctorCommand(a *app, host doctorHost) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Check what works on this kernel, and say what to do about the rest",
		Long:    doctorHelp,
		Example: doctorExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			json, err := parseOutput(output)
			if err != nil {
				return err
			}
			return a.doctor(cmd.Context(), host, json)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output `format`: text or json (JSON Lines)")
	return cmd
}

func (a *app) doctor(ctx context.Context, host doctorHost, json bool) error {
	h := examine(ctx, host)
	report := preflight.NewReport(h)
	var err error
	if json {
		err = report.WriteJSON(a.Out)
	} else {
		err = report.WriteText(a.Out, doctorWidth(ui.Width(a.Out)), ui.UseColor(a.Out, a.env.getenv))
	}
	switch {
	case err != nil:
		return fmt.Errorf("write the findings: %w", err)
	case h.AttachErr != nil:
		return unavailable(fmt.Errorf("attach in mode %s: %w", h.Plan.Mode, h.AttachErr), meanwhile(h))
	case h.Plan.Mode == preflight.ModeNone:
		return unavailable(errors.New("no eBPF mode works here"), remedies(report)+meanwhile(h))
	default:
		return nil
	}
}

// examine asks the host everything.
func examine(ctx context.Context, host doctorHost) preflight.Host {
	f := host.detect()
	h := preflight.Host{Features: f, Plan: host.plan(f), DiagErr: host.sockets(ctx)}
	if h.Plan.Mode == preflight.ModeNone {
		return h
	}
	seen, err := host.attach(ctx)
	if err != nil {
		h.AttachErr = err
		return h
	}
	h.Plan, h.Canary, h.CanaryErr = seen.plan, &seen.canary, seen.canaryErr
	return h
}

// meanwhile is what to do where nothing can be traced.
func meanwhile(h preflight.Host) string { return "meanwhile " + preflight.WithoutTracing(h.DiagErr) }

// remedies picks the first thing to do about what fails, followed by "; "; empty:
// there is none.
func remedies(r preflight.Report) string {
	for _, f := range r.Findings {
		if f.Status == preflight.Fail && f.Remedy != "" {
			return f.Remedy + "; "
		}
	}
	return ""
}

// doctorWidth keeps text readable on very narrow and very wide terminals.
func doctorWidth(columns int) int {
	if columns == 0 {
		return 80
	}
	return min(max(columns, 60), 100)
}

// planned is what a live command would choose.
func planned(f *preflight.Features) preflight.Plan {
	p, err := probe.MakePlan(f, "")
	if err != nil {
		return preflight.WithoutEBPF("see what fails above")
	}
	return preflight.Plan{Mode: string(p.Mode), Why: whyAfterFindings(p.Mode, p.Why), Limits: p.Limits, Missing: p.Missing}
}

// whyAfterFindings is short where the findings have said it: the probe's own
// words for a lesser mode end with a hint to run doctor.
func whyAfterFindings(mode probe.Mode, why string) string {
	if mode == probe.Fentry {
		return why
	}
	return "the best of what works above"
}

// attachOnce attaches as a live command does, which runs the canary.
func attachOnce(context.Context) (attachment, error) {
	tracer, err := probe.Open(probe.Options{})
	if err != nil {
		return attachment{}, err
	}
	canary := tracer.Canary()
	seen := attachment{
		plan: preflight.Plan{Mode: tracer.Mode(), Limits: tracer.Limits(), Missing: tracer.Missing(),
			Why: whyAfterFindings(canary.Mode, tracer.Why())},
		canary:    preflight.Canary{Mode: string(canary.Mode)},
		canaryErr: canary.Err,
	}
	for _, hook := range canary.Hooks {
		seen.canary.Hooks = append(seen.canary.Hooks, preflight.Hook{
			Name: hook.Name, Role: string(hook.Role), Expected: hook.Expected, Fired: hook.Fired,
		})
	}
	return seen, tracer.Close()
}

func listSockets(ctx context.Context) error {
	_, err := sockdiag.Snapshot(ctx, sockdiag.ListenersQuery())
	return err
}
