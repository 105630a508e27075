package cli

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/cobra"

	"acceptwatch/internal/event"
	"acceptwatch/internal/metrics"
)

const serveHelp = `Serves metrics of accept queues to Prometheus, at /metrics, until it is ended. The
counts are kept in the kernel and read at a scrape, so that they cost the same at
10 connections a second and at 100,000; scrapes within a second of each other share
what was read. Where the mode cannot know something, its metric is not there.

/-/healthy answers while the process lives, /-/ready once it is attached and as
long as looking works, otherwise 503.

A listener has a series for each set of --labels; listeners that differ in none of
them are summed up. container, pod and unit are those of the processes that hold
the listener (a pod by its uid), process is their name. What finds no room in
--max-series is summed up in listener="other", and counted in
acceptwatch_listeners_folded.

It listens on loopback, without authentication. For other addresses, give it TLS
and users in a --web.config.file, whose format is that of Prometheus exporters:
https://prometheus.io/docs/prometheus/latest/configuration/https/`

const serveExamples = `  acceptwatch serve
  acceptwatch serve --port 80,443 --labels port,pod,container
  acceptwatch serve --listen 10.0.0.5:9716 --web.config.file web.yml`

// serveAt is the default of --listen.
const serveAt = "127.0.0.1:9716"

// serveOptions are the flags of serve, parsed.
type serveOptions struct {
	trace     traceOptions
	listen    []string
	webConfig string
	metrics   metrics.Options
}

func newServeCommand(a *app) *cobra.Command {
	var (
		o       serveOptions
		filters filterFlags
		labels  []string
		mode    string
	)
	var defaults []string
	for _, l := range metrics.DefaultLabels() {
		defaults = append(defaults, l.String())
	}
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Serve metrics to Prometheus",
		Long:    serveHelp,
		Example: serveExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.trace.filter, err = filters.filter(); err != nil {
				return err
			}
			if o.trace.mode, err = parseMode(mode); err != nil {
				return err
			}
			if err := o.trace.check(); err != nil {
				return err
			}
			if o.metrics.Labels, err = metrics.ParseLabels(labels); err != nil {
				return usageErrorf("bad --labels: %w", err)
			}
			if err := o.check(); err != nil {
				return err
			}
			return a.serve(cmd.Context(), &o)
		},
	}
	filters.register(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.listen, "listen", []string{serveAt}, "serve at this `address`; repeatable")
	flags.StringVar(&o.webConfig, "web.config.file", "", "take TLS and users from this `file`")
	flags.StringSliceVar(&labels, "labels", defaults, "tell listeners apart by these `labels`: "+strings.Join(metrics.LabelNames(), ", "))
	flags.IntVar(&o.metrics.Most, "max-series", metrics.DefaultMost, "have series for this `number` of listeners, and sum up the others")
	flags.StringVar(&mode, "mode", "auto", "how to watch the kernel: `mode` auto, fentry, kprobe or restricted")
	flags.DurationVar(&o.trace.stallAfter, "stall-after", time.Second, "call it a stall when nobody accepts from a non-empty queue for this `time`")
	flags.SortFlags = false
	return cmd
}

func (o *serveOptions) check() error {
	if o.metrics.Most < 1 {
		return usageErrorf("bad --max-series: %d leaves room for none, give a number such as %d", o.metrics.Most, metrics.DefaultMost)
	}
	for _, at := range o.listen {
		_, port, err := net.SplitHostPort(at)
		if err == nil {
			_, err = net.LookupPort("tcp", port) // 0 is any that is free
		}
		if err != nil {
			return usageErrorf("bad --listen: %q is no address and port, give one such as %s", at, serveAt)
		}
	}
	if err := web.Validate(o.webConfig); err != nil {
		return usageErrorf("bad --web.config.file: %w", err)
	}
	// What there is of a live run besides counts is not needed.
	o.trace.diagnosis, o.trace.json = diagnosisOff, true
	return nil
}

// source is what serve needs: no events of connections, so that they cost nothing.
func (o *serveOptions) source() sourceOptions {
	return sourceOptions{
		Mode: o.trace.mode, Filter: o.trace.filter, Kinds: []event.Kind{event.ListenerClosed}, Room: o.metrics.Most,
	}
}

// serve attaches and serves until ctx ends.
func (a *app) serve(ctx context.Context, o *serveOptions) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.metrics.Build = metricsBuild()
	s := newScrapes(a, o)
	server, err := a.newServer(s, o)
	if err != nil {
		return err
	}
	server.start(cancel)
	defer server.stop()
	context.AfterFunc(ctx, server.stop) // while the source is closed
	err = a.attach(ctx, o.source(), func(src source) error {
		server.announce(&a.log) // what is not permitted here has been said before
		return s.run(ctx, src)
	})
	if err == nil || errors.Is(err, context.Canceled) {
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}
	return err
}
