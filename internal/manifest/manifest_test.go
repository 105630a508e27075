package manifest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/golden"
)

// usual are the options of a user who gives no flags.
func usual(kind Kind) Options {
	o := Options{
		Version: "v1.2.3", Listen: "127.0.0.1:9716", Labels: []string{"listener", "port", "netns"},
		Binary: "/usr/local/bin/acceptwatch", Image: "acceptwatch:v1.2.3", Namespace: "acceptwatch", Job: "acceptwatch",
	}
	if kind == Kubernetes {
		o.Listen, o.Labels = ":9716", []string{"listener", "port", "netns", "container", "pod"}
	}
	return o
}

// chosen are options that differ from these in everything.
func chosen(kind Kind) Options {
	o := usual(kind)
	o.Listen, o.Labels = "[::]:80", []string{"port", "unit", "process"}
	o.ServeArgs = []string{"--port", "8000-8010", "--comm", "my server", "--web.config.file=100%.yml"}
	for _, c := range Optional() {
		o.Without = append(o.Without, c.Name)
	}
	o.Binary, o.Image, o.Namespace, o.Job = "/opt/acceptwatch $1", "registry.example:5000/a/b@sha256:00", "on", "aw/prod"
	return o
}

func printed(t *testing.T, kind Kind, o Options) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, kind, o); err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(out.Bytes(), []byte("<%")); i >= 0 {
		t.Errorf("%s has an unfilled value: %.40s", kind, out.Bytes()[i:])
	}
	return out.Bytes()
}

func kinds() []Kind { return []Kind{Systemd, Kubernetes, Grafana, Alerts} }

func TestManifests(t *testing.T) {
	for _, kind := range kinds() {
		extension := filepath.Ext(kind.file())
		golden.Compare(t, string(kind)+extension, printed(t, kind, usual(kind)))
		golden.Compare(t, string(kind)+"_chosen"+extension, printed(t, kind, chosen(kind)))
	}
}

// settings are those of a unit, of which lists are repeated.
func settings(unit []byte) map[string][]string {
	all := make(map[string][]string)
	for line := range strings.Lines(string(unit)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

func TestUnitHasTheCapabilitiesOfTheTable(t *testing.T) {
	all, required := "CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYS_ADMIN", "CAP_BPF CAP_PERFMON"
	for want, o := range map[string]Options{all: usual(Systemd), required: chosen(Systemd)} {
		s := settings(printed(t, Systemd, o))
		for _, key := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
			if diff := cmp.Diff([]string{want}, s[key]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
		}
		// These would hide what is looked at.
		for _, key := range []string{"ProtectProc", "ProcSubset", "PrivateNetwork", "PrivatePIDs", "PrivateUsers"} {
			if s[key] != nil {
				t.Errorf("%s=%s", key, s[key])
			}
		}
	}
	if s := settings(printed(t, Systemd, chosen(Systemd))); s["IPAddressDeny"] != nil {
		t.Error("metrics for others are served to this host alone")
	}
}

// need is a program that Debian has in a package; where it is missing, the test
// is passed over unless the variable demands it.
func need(t *testing.T, program, variable string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv(variable) != "" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func written(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnitIsUnderstoodBySystemd also has a bound on what systemd thinks of it: 10
// is all that there is, and CAP_SYS_ADMIN alone makes out much of the rest.
func TestUnitIsUnderstoodBySystemd(t *testing.T) {
	analyze := need(t, "systemd-analyze", "ACCEPTWATCH_NEED_SYSTEMD")
	for _, o := range []Options{usual(Systemd), chosen(Systemd)} {
		o.Binary = "/bin/true"
		unit := written(t, "acceptwatch.service", printed(t, Systemd, o))
		if said := run(t, analyze, "verify", "--man=no", unit); strings.Contains(said, "acceptwatch.service") {
			t.Errorf("systemd-analyze verify:\n%s", said)
		}
		said := run(t, analyze, "security", "--offline=yes", "--no-pager", unit)
		found := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+)`).FindStringSubmatch(said)
		if found == nil {
			t.Fatalf("systemd-analyze security:\n%s", said)
		}
		t.Logf("exposure level %s with %d capabilities left out", found[1], len(o.Without))
		if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 3 {
			t.Errorf("exposure level %s:\n%s", found[1], said)
		}
	}
}

// daemonSet is what matters of one, and no field of another name.
type daemonSet struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     struct {
				HostPID                       bool              `yaml:"hostPID"`
				HostNetwork                   bool              `yaml:"hostNetwork"`
				AutomountServiceAccountToken  *bool             `yaml:"automountServiceAccountToken"`
				EnableServiceLinks            *bool             `yaml:"enableServiceLinks"`
				NodeSelector                  map[string]string `yaml:"nodeSelector"`
				Tolerations                   []struct{ Operator string }
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []container
			}
		}
	}
}

type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext struct {
		RunAsUser                *int  `yaml:"runAsUser"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		Capabilities             struct{ Drop, Add []string }
		SeccompProfile           struct{ Type string } `yaml:"seccompProfile"`
		AppArmorProfile          struct{ Type string } `yaml:"appArmorProfile"`
	} `yaml:"securityContext"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`

	InitialDelaySeconds int `yaml:"initialDelaySeconds"`
	TimeoutSeconds      int `yaml:"timeoutSeconds"`
}

func TestDaemonSet(t *testing.T) {
	for _, c := range []struct {
		name, namespace, image string
		options                Options
		port                   int
		args, capabilities     []string
		escalation             *bool
	}{
		{"usual", "acceptwatch", "acceptwatch:v1.2.3", usual(Kubernetes), 9716,
			[]string{"serve", "--listen=:9716", "--labels=listener,port,netns,container,pod"},
			[]string{"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN"}, nil},
		{"chosen", "on", "registry.example:5000/a/b@sha256:00", chosen(Kubernetes), 80,
			[]string{"serve", "--listen=[::]:80", "--labels=port,unit,process",
				"--port", "8000-8010", "--comm", "my server", "--web.config.file=100%.yml"},
			[]string{"BPF", "PERFMON"}, new(bool)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := yaml.NewDecoder(bytes.NewReader(printed(t, Kubernetes, c.options)))
			d.KnownFields(true)
			var space, set daemonSet
			for _, one := range []*daemonSet{&space, &set} {
				if err := d.Decode(one); err != nil {
					t.Fatal(err)
				}
			}
			if space.Kind != "Namespace" || space.Metadata.Name != c.namespace || set.Metadata.Namespace != c.namespace {
				t.Errorf("namespace %+v, used %q; want %s", space.Metadata, set.Metadata.Namespace, c.namespace)
			}
			pod := set.Spec.Template
			if diff := cmp.Diff(set.Spec.Selector.MatchLabels, pod.Metadata.Labels); diff != "" || len(pod.Metadata.Labels) == 0 {
				t.Errorf("the selector does not select the pods:\n%s", diff)
			}
			if !pod.Spec.HostPID || pod.Spec.HostNetwork || len(pod.Spec.Containers) != 1 {
				t.Errorf("pod %+v", pod.Spec)
			}
			one := pod.Spec.Containers[0]
			if diff := cmp.Diff(c.args, one.Args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			port := one.Ports[0]
			if one.Image != c.image || port.ContainerPort != c.port || pod.Metadata.Annotations["prometheus.io/port"] != strconv.Itoa(c.port) {
				t.Errorf("image %q, port %+v, annotations %v", one.Image, port, pod.Metadata.Annotations)
			}
			if one.LivenessProbe.HTTPGet.Path != "/-/healthy" || one.ReadinessProbe.HTTPGet.Path != "/-/ready" ||
				one.LivenessProbe.HTTPGet.Port != port.Name || one.ReadinessProbe.HTTPGet.Port != port.Name {
				t.Errorf("probes %+v, %+v", one.LivenessProbe, one.ReadinessProbe)
			}
			s := one.SecurityContext
			if !s.ReadOnlyRootFilesystem || cmp.Diff(s.Capabilities.Drop, []string{"ALL"}) != "" ||
				cmp.Diff(c.escalation, s.AllowPrivilegeEscalation) != "" || one.Resources.Limits["memory"] == "" {
				t.Errorf("security %+v, resources %+v", s, one.Resources)
			}
			if diff := cmp.Diff(c.capabilities, s.Capabilities.Add); diff != "" {
				t.Errorf("capabilities (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionalIsWhatIsNotRequired(t *testing.T) {
	if n := len(Optional()); n == 0 || n == len(capability.Watching()) {
		t.Errorf("%d of %d are optional", n, len(capability.Watching()))
	}
}

// metrics are those of serve and of the client library that it uses.
func metrics() []string {
	return []string{
		"acceptwatch_accept_wait_seconds", "acceptwatch_accept_wait_seconds_bucket",
		"acceptwatch_accept_queue_depth", "acceptwatch_accept_queue_limit", "acceptwatch_accept_queue_oldest_seconds",
		"acceptwatch_accept_queue_max_depth", "acceptwatch_accept_queue_full_seconds_total",
		"acceptwatch_enqueued_total", "acceptwatch_accepted_total", "acceptwatch_accepted_dead_total",
		"acceptwatch_close_wait_total", "acceptwatch_reset_total", "acceptwatch_overflow_total", "acceptwatch_purged_total",
		"acceptwatch_migrated_total", "acceptwatch_accept_errors_total", "acceptwatch_stalled",
		"acceptwatch_listeners", "acceptwatch_listeners_folded", "acceptwatch_lost_total",
		"acceptwatch_mode_info", "acceptwatch_build_info",
		"process_cpu_seconds_total", "process_resident_memory_bytes",
	}
}

func wantKnownMetrics(t *testing.T, query string) {
	t.Helper()
	for _, name := range regexp.MustCompile(`\b(acceptwatch|process)_[a-z_]+`).FindAllString(query, -1) {
		if !slices.Contains(metrics(), name) {
			t.Errorf("serve has no metric %s: %s", name, query)
		}
	}
}

func rules(t *testing.T, text []byte) (alerts []struct{ Alert, Expr string }) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

func TestAlertsAreOfMetricsThatThereAre(t *testing.T) {
	all := rules(t, printed(t, Alerts, usual(Alerts)))
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	text, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Tests []struct {
				Name  string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	fires := make(map[string]bool)
	for _, test := range file.Tests {
		for _, one := range test.Tests {
			fires[one.Name] = fires[one.Name] || len(one.Fires) > 0
		}
	}
	for _, rule := range all {
		wantKnownMetrics(t, rule.Expr)
		if !fires[rule.Alert] {
			t.Errorf("%s has no test in which it fires", rule.Alert)
		}
	}
}

func TestAlertsByPromtool(t *testing.T) {
	promtool := need(t, "promtool", "ACCEPTWATCH_NEED_PROMTOOL")
	run(t, promtool, "check", "rules", written(t, "chosen.yaml", printed(t, Alerts, chosen(Alerts))))
	tests, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := written(t, "alerts.yaml", printed(t, Alerts, usual(Alerts)))
	run(t, promtool, "check", "rules", path)
	run(t, promtool, "test", "rules", written(t, "alerts_test.yaml", bytes.ReplaceAll(tests, []byte("ALERTS"), []byte(path))))
}

// dashboard is what matters of one.
type dashboard struct {
	Templating struct{ List []struct{ Name string } }
	Panels     []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ W, H, X, Y int }
		Targets []struct{ RefID, Expr string }
	}
}

func TestDashboard(t *testing.T) {
	for _, o := range []Options{usual(Grafana), chosen(Grafana)} {
		var d dashboard
		if err := json.Unmarshal(printed(t, Grafana, o), &d); err != nil {
			t.Fatal(err)
		}
		ids := make(map[int]bool)
		taken := make(map[[2]int]string)
		queries := []byte("groups:\n- name: dashboard\n  rules:\n")
		used := make(map[string]bool)
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("two panels have the id %d", p.ID)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%q is at %d,%d, where %q is", p.Title, x, y, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if (len(p.Targets) == 0) != (p.Type == "row") {
				t.Errorf("%s %q has %d queries", p.Type, p.Title, len(p.Targets))
			}
			for _, target := range p.Targets {
				wantKnownMetrics(t, target.Expr)
				for _, name := range metrics() {
					used[name] = used[name] || strings.Contains(target.Expr, name+"{")
				}
				expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$listener", ".*").Replace(target.Expr)
				if strings.Contains(expr, "$") {
					t.Errorf("%q uses a variable that there is not: %s", p.Title, expr)
				}
				line, err := json.Marshal(expr)
				if err != nil {
					t.Fatal(err)
				}
				queries = append(queries, "  - {record: a:b"+strconv.Itoa(len(queries))+", expr: "+string(line)+"}\n"...)
			}
		}
		for _, name := range metrics() {
			// Enqueued is the sum of the rest, and the builds are a join's other side too.
			if !used[name] && name != "acceptwatch_enqueued_total" {
				t.Errorf("%s is not shown", name)
			}
		}
		if promtool := need(t, "promtool", "ACCEPTWATCH_NEED_PROMTOOL"); promtool != "" {
			run(t, promtool, "check", "rules", written(t, "queries.yaml", queries))
		}
	}
}

func TestAddressThatIsNone(t *testing.T) {
	o := usual(Systemd)
	o.Listen = "9716"
	if err := Write(&bytes.Buffer{}, Systemd, o); err == nil || !strings.Contains(err.Error(), `"9716"`) {
		t.Errorf("%v, want that it is no address", err)
	}
}
