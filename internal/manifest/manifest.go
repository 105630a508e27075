// Package manifest prints what runs and watches `acceptwatch serve` as a service:
// a systemd unit, a DaemonSet, a Grafana dashboard and Prometheus alert rules.
// They are the files in template, which read as what they become, with values in
// <% %>. It is pure.
package manifest

import (
	"embed"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strings"
	"text/template"

	"acceptwatch/internal/capability"
)

// Kind is what is printed.
type Kind string

const (
	Systemd    Kind = "systemd"    // a unit
	Kubernetes Kind = "kubernetes" // a namespace and a DaemonSet
	Grafana    Kind = "grafana"    // a dashboard, JSON
	Alerts     Kind = "alerts"     // rules for Prometheus
)

// Options are what a user may choose. Those that a kind does not use are ignored.
type Options struct {
	Version string // of this program

	Listen    string   // address that metrics are served at: "127.0.0.1:9716", ":9716"
	Labels    []string // of Labels
	ServeArgs []string // more flags of serve
	Without   []string // names of capabilities to leave out: those of Optional

	Binary    string // path of the program
	Image     string // of a container, with the program as its entry point
	Namespace string // of Kubernetes
	Job       string // label job of the scraped metrics
}

// Labels are those that a series of a listener can have, in serve's order.
func Labels() []string {
	return []string{"listener", "port", "netns", "container", "pod", "unit", "process"}
}

// Optional are the capabilities that may be left out.
func Optional() []capability.Capability {
	return slices.DeleteFunc(capability.Watching(), capability.Capability.Required)
}

// What serve may take. Its maps count as memory of its control group.
const (
	memoryRequest = "64Mi"
	memoryLimit   = "512Mi"
	memoryMax     = "512M"
)

//go:embed template
var templates embed.FS

func (k Kind) file() string {
	return map[Kind]string{
		Systemd: "acceptwatch.service", Kubernetes: "daemonset.yaml", Grafana: "dashboard.json", Alerts: "alerts.yaml",
	}[k]
}

// Write prints one. The options are taken as checked, but for Listen.
func Write(w io.Writer, kind Kind, o Options) error {
	name := kind.file()
	values, err := valuesOf(&o)
	if err != nil {
		return err
	}
	t := template.New(name).Delims("<%", "%>").Option("missingkey=error").Funcs(template.FuncMap{
		"names": capabilityNames, "join": joinLabels, "unit": quoteUnit, "yaml": quoteYAML,
	})
	if t, err = t.ParseFS(templates, "template/"+name); err != nil {
		return fmt.Errorf("read the template of %s: %w", kind, err)
	}
	if err := t.Execute(w, values); err != nil {
		return fmt.Errorf("write the manifest for %s: %w", kind, err)
	}
	return nil
}

// values are what the templates name.
type values struct {
	Options
	Flags        []string // of serve
	Port, Scrape string
	Loopback     bool // metrics are served to this host alone

	WebConfig, WebDirectory string // serve's file for TLS and users, and where it is; empty: none

	Capabilities, Without []capability.Capability
	LockedMemory          capability.Capability
	MayForbidEscalation   bool

	MemoryRequest, MemoryLimit, MemoryMax string

	// Of a listener, in alerts: its name, and the flags that choose it.
	Subject, Select string
	// Of a listener, in the dashboard: the label that chooses it, the labels that
	// tell it from others, its name, and the selector of its series.
	Picker, By, Legend, Where string
}

func valuesOf(o *Options) (*values, error) {
	v := &values{
		Options: *o, LockedMemory: capability.LockedMemory(),
		MemoryRequest: memoryRequest, MemoryLimit: memoryLimit, MemoryMax: memoryMax,
	}
	v.Flags = append([]string{"--listen=" + o.Listen, "--labels=" + joinLabels(o.Labels)}, o.ServeArgs...)
	for _, c := range capability.Watching() {
		if slices.Contains(o.Without, c.Name) {
			v.Without = append(v.Without, c)
		} else {
			v.Capabilities = append(v.Capabilities, c)
		}
	}
	// The kubelet takes that for a contradiction to CAP_SYS_ADMIN.
	v.MayForbidEscalation = slices.Contains(o.Without, "CAP_SYS_ADMIN")
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return nil, fmt.Errorf("listen at %q: %w", o.Listen, err)
		}
		ip := net.ParseIP(host)
		v.Port, v.Loopback = port, Loopback(host)
		if host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		v.Scrape = net.JoinHostPort(host, port)
	}
	if v.WebConfig = WebConfig(o.ServeArgs); v.WebConfig != "" {
		v.WebDirectory = path.Dir(v.WebConfig)
	}
	v.name(o.Labels)
	return v, nil
}

// Loopback says that only this host can reach an address.
func Loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// WebConfig is the file for TLS and users that these flags of serve name; empty: none.
func WebConfig(serveArgs []string) string {
	const flag = "--web.config.file"
	file := ""
	for i, arg := range serveArgs {
		if value, is := strings.CutPrefix(arg, flag+"="); is {
			file = value
		} else if arg == flag && i+1 < len(serveArgs) {
			file = serveArgs[i+1]
		}
	}
	return file
}

func joinLabels(labels []string) string { return strings.Join(labels, ",") }

// name sets how a listener is named by these labels.
func (v *values) name(labels []string) {
	has := func(label string) bool { return slices.Contains(labels, label) }
	v.Picker = labels[0]
	for _, label := range []string{"listener", "port"} {
		if has(label) {
			v.Picker = label
			break
		}
	}
	v.By = strings.Join(append([]string{"instance"}, labels...), ", ")
	v.Subject = "{{ $labels." + v.Picker + " }}"
	if v.Picker == "port" {
		v.Subject = "port " + v.Subject
	}
	v.Legend = "{{instance}} {{" + v.Picker + "}}"
	for _, label := range labels {
		if label != v.Picker && label != "port" && label != "netns" {
			v.Subject += "{{ with $labels." + label + " }} of " + label + " {{ . }}{{ end }}"
			v.Legend += " {{" + label + "}}"
		}
	}
	v.Subject += " on {{ $labels.instance }}"
	if has("netns") {
		v.Select = optional("netns")
	}
	if has("port") {
		v.Select = optional("port") + v.Select
	}
	v.Where = fmt.Sprintf(`instance=~\"$instance\", %s=~\"$listener\"`, v.Picker) // in JSON
}

// optional is the flag that chooses a listener by a label, where that has a value:
// what was summed up as other has none.
func optional(label string) string {
	return "{{ with $labels." + label + " }} --" + label + " {{ . }}{{ end }}"
}

func capabilityNames(list []capability.Capability) string {
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}
