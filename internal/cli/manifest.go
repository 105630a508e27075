package cli

import (
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/manifest"
	"acceptwatch/internal/metrics"
)

const manifestHelp = `Prints what runs acceptwatch as a service, or watches its metrics:

  systemd     a unit for 'acceptwatch serve', in a sandbox, with the capabilities
              that it needs and no others
  kubernetes  a namespace and a DaemonSet for the same on every node
  grafana     a dashboard for its metrics
  alerts      rules for Prometheus: queues that stall, fill up or overflow, accept()
              that fails, and acceptwatch itself

What follows -- is given to serve: filters, TLS and so on. Give grafana and alerts the
--labels that serve has; the DaemonSet has more of them than the unit, and says how
Prometheus scrapes it.`

const manifestExamples = `  acceptwatch manifest systemd > /etc/systemd/system/acceptwatch.service
  acceptwatch manifest systemd --without CAP_SYS_ADMIN -- --port 80,443
  acceptwatch manifest kubernetes --image registry.example/acceptwatch:1 | kubectl apply -f -
  acceptwatch manifest grafana > acceptwatch.json
  acceptwatch manifest alerts > /etc/prometheus/rules/acceptwatch.yaml`

// nodeLabels tell the listeners of pods apart.
var nodeLabels = []string{"listener", "port", "netns", "container", "pod"}

func newManifestCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "manifest KIND",
		Short:   "Print a unit, a DaemonSet, a dashboard or alert rules for serve",
		Long:    manifestHelp,
		Example: manifestExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("manifest needs to know of what: systemd, kubernetes, grafana or alerts")
			}
			return usageErrorf("there is no manifest for %q, choose systemd, kubernetes, grafana or alerts", args[0])
		},
	}
	cmd.AddCommand(
		manifestCommand(a, manifest.Systemd, "Print a systemd unit for serve", func(f *manifestFlags) {
			f.serve(serveAt)
			f.cmd.Flags().StringVar(&f.options.Binary, "binary", "/usr/local/bin/acceptwatch", "absolute `path` of this program on the host")
		}),
		manifestCommand(a, manifest.Kubernetes, "Print a DaemonSet for serve", func(f *manifestFlags) {
			f.options.Labels = nodeLabels
			f.serve(":9716")
			f.cmd.Flags().StringVar(&f.options.Image, "image", "acceptwatch:"+imageTag(), "container `image` with this program as its entry point")
			f.cmd.Flags().StringVar(&f.options.Namespace, "namespace", "acceptwatch", "Kubernetes `namespace`, which is made")
		}),
		manifestCommand(a, manifest.Grafana, "Print a Grafana dashboard", func(*manifestFlags) {}),
		manifestCommand(a, manifest.Alerts, "Print alert rules for Prometheus", func(f *manifestFlags) {
			f.cmd.Flags().StringVar(&f.options.Job, "job", "acceptwatch", "the `job` under which Prometheus scrapes serve")
		}),
	)
	return cmd
}

// manifestFlags are the flags of one kind.
type manifestFlags struct {
	cmd     *cobra.Command
	options manifest.Options
}

// serve adds those of the kinds that run serve.
func (f *manifestFlags) serve(listen string) {
	flags := f.cmd.Flags()
	flags.StringVar(&f.options.Listen, "listen", listen, "`address` to serve metrics at")
	flags.StringSliceVar(&f.options.Without, "without", nil, "leave these `capabilities` out, and what they are for: "+strings.Join(optionalNames(), ", "))
}

func optionalNames() []string {
	var names []string
	for _, c := range manifest.Optional() {
		names = append(names, c.Name)
	}
	return names
}

func manifestCommand(a *app, kind manifest.Kind, short string, add func(*manifestFlags)) *cobra.Command {
	f := &manifestFlags{options: manifest.Options{Version: toolVersion()}}
	for _, label := range metrics.DefaultLabels() {
		f.options.Labels = append(f.options.Labels, label.String())
	}
	f.cmd = &cobra.Command{
		Use:   string(kind),
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			runs := cmd.Flags().Lookup("listen") != nil
			switch {
			case len(args) == 0 || runs && cmd.ArgsLenAtDash() == 0:
				return nil
			case runs:
				return usageErrorf("manifest %s takes flags only, and %q is none: what is for serve comes after --", kind, args[0])
			}
			return noArgs(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			f.options.ServeArgs = args
			if err := f.check(kind); err != nil {
				return err
			}
			return manifest.Write(a.Out, kind, f.options)
		},
	}
	add(f)
	f.cmd.Flags().StringSliceVar(&f.options.Labels, "labels", f.options.Labels,
		"`labels` that the series of a listener have: "+strings.Join(manifest.Labels(), ", "))
	f.cmd.Flags().SortFlags = false
	return f.cmd
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)
	// A name in Kubernetes (RFC 1123).
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func (f *manifestFlags) check(kind manifest.Kind) error {
	o := &f.options
	for _, label := range o.Labels {
		if !slices.Contains(manifest.Labels(), label) {
			return usageErrorf("bad --labels: there is no label %q, choose from %s", label, strings.Join(manifest.Labels(), ", "))
		}
	}
	if !slices.Contains(o.Labels, "listener") && !slices.Contains(o.Labels, "port") {
		return usageErrorf("bad --labels: without listener and port, nobody knows which listener it is: add one of them")
	}
	for i, name := range o.Without {
		o.Without[i] = "CAP_" + strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if slices.Contains(optionalNames(), o.Without[i]) {
			continue
		}
		if slices.ContainsFunc(capability.Watching(), func(c capability.Capability) bool { return c.Name == o.Without[i] }) {
			return usageErrorf("bad --without: without %s nothing can be watched, choose from %s", o.Without[i], strings.Join(optionalNames(), ", "))
		}
		return usageErrorf("bad --without: %s is not asked for anyhow, choose from %s", o.Without[i], strings.Join(optionalNames(), ", "))
	}
	switch kind {
	case manifest.Systemd:
		if !strings.HasPrefix(o.Binary, "/") {
			return usageErrorf("bad --binary: systemd needs an absolute path, and %q is none", o.Binary)
		}
		return f.checkListen()
	case manifest.Kubernetes:
		return f.checkKubernetes()
	case manifest.Alerts:
		if !plainName.MatchString(o.Job) {
			return usageErrorf("bad --job: %q has other characters than letters, digits and _./-", o.Job)
		}
	}
	return nil
}

func (f *manifestFlags) checkKubernetes() error {
	o := &f.options
	web := manifest.WebConfig(o.ServeArgs)
	switch {
	case !dnsLabel.MatchString(o.Namespace):
		return usageErrorf("bad --namespace: %q is no name that Kubernetes takes", o.Namespace)
	case web != "" && (!path.IsAbs(web) || path.Dir(web) == "/"):
		return usageErrorf("bad --web.config.file: %q is in no directory that a Secret can be mounted at, give a path such as /etc/acceptwatch/web.yml", web)
	}
	if err := f.checkListen(); err != nil {
		return err
	}
	if host, _, _ := net.SplitHostPort(o.Listen); manifest.Loopback(host) {
		return usageErrorf("bad --listen: at %s neither the kubelet nor Prometheus reaches a pod, give an address such as :9716", o.Listen)
	}
	return nil
}

// firstPort is the first that needs no capability (net.ipv4.ip_unprivileged_port_start).
const firstPort = 1024

func (f *manifestFlags) checkListen() error {
	_, port, err := net.SplitHostPort(f.options.Listen)
	n, bad := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || bad != nil || n == 0:
		return usageErrorf("bad --listen: %q is no address, give one such as 127.0.0.1:9716 or :9716", f.options.Listen)
	case n < firstPort:
		return usageErrorf("bad --listen: port %d takes CAP_NET_BIND_SERVICE, which serve gets from no manifest, choose one from %d on", n, firstPort)
	}
	return nil
}

// imageTag is the version as a tag of an image, which has no "+".
func imageTag() string {
	tag, _, _ := strings.Cut(toolVersion(), "+")
	return tag
}
