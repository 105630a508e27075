package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/golden"
)

// terminal is one in which a command runs, and somebody types.
type terminal struct {
	t   *testing.T
	env []string
	dir string // where the command runs
}

// openTerminal runs a shell command in a terminal of a size, with variables of the
// environment. When it has ended, its exit code is shown.
func openTerminal(t *testing.T, width, height int, command string, env ...string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("the terminals of these tests are tmux's: install it")
	}
	dir, err := os.MkdirTemp("", "aw") // sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "tmux.conf")
	if err := os.WriteFile(config, []byte("set -g status off\nset -g default-terminal tmux-256color\nset -sg escape-time 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "run")
	if err := os.WriteFile(script, []byte(command+"\necho \"code $?\"\nexec sleep 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, dir: dir, env: append(os.Environ(), "TMUX_TMPDIR="+dir, "TMUX=", "TZ=UTC", "LC_ALL=C.UTF-8")}
	x.env = append(x.env, env...)
	x.tmux("-f", config, "new-session", "-d", "-c", dir, "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "sh "+script)
	t.Cleanup(func() {
		x.tmux("kill-server")
		os.RemoveAll(dir)
	})
	return x
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	cmd := exec.Command("tmux", args...)
	cmd.Env = x.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

func (x *terminal) keys(keys ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, keys...)...)
}

// signal sends a signal to the process whose number is in the file pid.
func (x *terminal) signal(name string) {
	x.t.Helper()
	pid, err := os.ReadFile(filepath.Join(x.dir, "pid"))
	if err != nil {
		x.t.Fatal(err)
	}
	if out, err := exec.Command("kill", "-"+name, strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
		x.t.Fatalf("kill: %v: %s", err, out)
	}
}

func (x *terminal) screen() string { return x.tmux("capture-pane", "-p") }

// keyPatience is how long a screen may take; only a failure takes so long.
const keyPatience = time.Minute

// until waits for a screen that has some text.
func (x *terminal) until(text string) string {
	x.t.Helper()
	for end := time.Now().Add(keyPatience); ; time.Sleep(20 * time.Millisecond) {
		screen := x.screen()
		if strings.Contains(screen, text) {
			return screen
		}
		if time.Now().After(end) {
			x.t.Fatalf("no %q on the screen:\n%s", text, screen)
		}
	}
}

// shows waits for the screen that is in a golden file.
func (x *terminal) shows(name string) {
	x.t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		time.Sleep(3 * time.Second)
	}
	want, _ := os.ReadFile(filepath.Join("testdata", "top", name))
	screen := x.screen()
	for end := time.Now().Add(keyPatience); screen != string(want) && time.Now().Before(end) && os.Getenv("UPDATE_GOLDEN") == ""; screen = x.screen() {
		time.Sleep(20 * time.Millisecond)
	}
	golden.Compare(x.t, filepath.Join("top", name), []byte(screen))
}
