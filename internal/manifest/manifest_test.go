package manifest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	o.Listen, o.Labels = "[::]:8080", []string{"port", "unit", "process"}
	o.ServeArgs = []string{"--port", "8000-8010", "--comm", "my server", "--web.config.file=/etc/web/100%.yml"}
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

func TestOptionalIsWhatIsNotRequired(t *testing.T) {
	if n := len(Optional()); n == 0 || n == len(capability.Watching()) {
		t.Errorf("%d of %d are optional", n, len(capability.Watching()))
	}
}

func TestAddressThatIsNone(t *testing.T) {
	o := usual(Systemd)
	o.Listen = "9716"
	if err := Write(&bytes.Buffer{}, Systemd, o); err == nil || !strings.Contains(err.Error(), `"9716"`) {
		t.Errorf("%v, want that it is no address", err)
	}
}

func TestFileForTLSAndUsersAmongFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"":       {"--port", "80"},
		"/a/b":   {"--port", "80", "--web.config.file", "/a/b"},
		"/a/c":   {"--web.config.file=/a/c", "--port=80"},
		"/a/end": {"--web.config.file=/a/c", "--web.config.file=/a/end"},
	} {
		if got := WebConfig(args); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}
