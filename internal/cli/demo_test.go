package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/preflight"
)

// demoApp runs commands on this host, with a demo that takes a second and whose
// server is the acceptwatch of the tests (testscript puts it on the PATH of its
// scripts only, so it is made here by its name).
func demoApp(ctx context.Context, t *testing.T, open openSource, args ...string) (out, narration string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(t.TempDir(), "acceptwatch")
	if err := os.Symlink(self, server); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	narrator := &lockedWriter{w: &stderr}
	a := &app{Stdio: Stdio{Out: &stdout, Err: narrator}, log: newLog(narrator), openSource: open, env: hostEnvironment()}
	cmd := demoCommand(a, []string{server, "demo", demoServer}, 80*time.Millisecond)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(ctx)
	if err != nil {
		stderr.WriteString(err.Error())
	}
	return stdout.String(), stderr.String(), exitCode(err)
}

// blindSource attaches and sees nothing.
type blindSource struct{ *fakeKernel }

func (b blindSource) Walk() error { time.Sleep(10 * time.Millisecond); return nil }

func openBlind(context.Context, sourceOptions) (source, error) {
	return blindSource{newFakeKernel()}, nil
}

func TestDemoFindsOutATracerThatSeesNothing(t *testing.T) {
	out, errs, code := demoApp(t.Context(), t, openBlind)
	if code != exitError {
		t.Errorf("exit code %d, want %d: %s", code, exitError, errs)
	}
	for _, want := range []string{"demo: the queue is full", "What happened:", "NOT AS IT WAS", "nothing was reported"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// A demo that compared nothing proves nothing, whoever ended it.
func TestDemoThatIsEndedEarlyIsAnError(t *testing.T) {
	for when, opened := range map[string]int{"before it has begun": 1, "while it is traced": 2} {
		ctx, end := context.WithCancel(t.Context())
		n := 0
		out, errs, code := demoApp(ctx, t, func(context.Context, sourceOptions) (source, error) {
			if n++; n == opened {
				end()
			}
			return blindSource{newFakeKernel()}, nil
		})
		if code != exitError || !strings.Contains(errs, "the demo was ended early: nothing was compared") || strings.Contains(out, "What happened:") {
			t.Errorf("%s: exit code %d: %s\n%s", when, code, errs, out)
		}
	}
}

// TestDemoOnThisKernel traces the incident with the probe: every connection
// must be told as it was made, in the best mode of this kernel.
func TestDemoOnThisKernel(t *testing.T) {
	f := preflight.Detect()
	mode := planned(f).Mode
	out, errs, code := demoApp(t.Context(), t, openProbe, "-o", "json")
	if mode == preflight.ModeNone {
		if code != exitUnavailable || out != "" {
			t.Errorf("without an eBPF mode: exit code %d, want %d: %s", code, exitUnavailable, errs)
		}
		return
	}
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last struct {
		Type, Mode                string
		Queued, FIN, RST, Refused int
		Reported                  struct{ Accepted, FIN, RST int }
		Differences               []string
		Sockets                   struct{ Depth, Backlog int }
		QueuedBefore              int `json:"queued_before_attach"`
	}
	for i, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %d is not JSON: %s", i+1, line)
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Type != "demo" || last.Mode != mode || len(last.Differences) > 0 {
		t.Errorf("last line: %s", lines[len(lines)-1])
	}
	if last.Reported.Accepted != last.Queued || last.Reported.FIN != last.FIN || last.Reported.RST != last.RST {
		t.Errorf("reported %+v of %+v", last.Reported, last)
	}
	if !strings.Contains(errs, "demo: ") {
		t.Errorf("no narration on standard error: %s", errs)
	}
}
