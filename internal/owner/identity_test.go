package owner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// proc makes a directory like /proc with one process.
func proc(t *testing.T, pid string, files map[string]string) Scanner {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, pid)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Scanner{Proc: root}
}

func TestIdentify(t *testing.T) {
	s := proc(t, "77", map[string]string{
		"stat": statLine(77, "web", 4242), "cmdline": "web\x00--port\x008000\x00",
		"cgroup": "0::/system.slice/web.service\n", "status": "Name:\tweb\nPPid:\t12\nNSpid:\t77\t5\n",
	})
	if err := os.Symlink("/usr/bin/web", filepath.Join(s.Proc, "77/exe")); err != nil {
		t.Fatal(err)
	}
	got, err := s.Identify(77, 4242)
	want := Identity{
		Exe: "/usr/bin/web", Command: "web --port 8000", Cgroup: "/system.slice/web.service",
		Place: Place{Unit: "web.service"}, Parent: 12, InnerPID: 5,
	}
	if err != nil || got != want {
		t.Errorf("Identify = %+v, %v; want %+v", got, err, want)
	}
}

func TestIdentifyAnotherProcessWithTheNumber(t *testing.T) {
	s := proc(t, "77", map[string]string{"stat": statLine(77, "web", 4243), "cmdline": "other\x00"})
	var gone *GoneError
	if got, err := s.Identify(77, 4242); !errors.As(err, &gone) || got != (Identity{}) {
		t.Errorf("Identify = %+v, %v; want a GoneError and nothing", got, err)
	}
	if _, err := s.Identify(78, 1); !errors.As(err, &gone) {
		t.Errorf("Identify of a process that is not there: %v, want a GoneError", err)
	}
}

func TestIdentitiesAreReadOnce(t *testing.T) {
	s := proc(t, "77", map[string]string{"stat": statLine(77, "web", 4242), "cmdline": "first\x00"})
	all := NewIdentities(s)
	p := Process{PID: 77, StartTime: 4242}
	if id, err := all.Of(p); err != nil || id.Command != "first" {
		t.Fatalf("Of = %+v, %v", id, err)
	}
	if err := os.RemoveAll(filepath.Join(s.Proc, "77")); err != nil {
		t.Fatal(err)
	}
	if id, err := all.Of(p); err != nil || id.Command != "first" {
		t.Errorf("the second time: %+v, %v", id, err)
	}
	p.StartTime++
	if _, err := all.Of(p); err == nil {
		t.Error("another process with the number is not the same")
	}
}

func TestParseCommand(t *testing.T) {
	if got := parseCommand(strings.Repeat("x", 2*mostCommand)); len(got) != mostCommand {
		t.Errorf("%d bytes are kept, want %d", len(got), mostCommand)
	}
	if got := parseCommand(""); got != "" {
		t.Errorf("a kernel thread has %q", got)
	}
}
