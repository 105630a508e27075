package cli

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/fence"
)

// TestFenceAllowsWhatComesLater: it is put up once, when the source is attached, and a
// command that is run has begun by then.
func TestFenceAllowsWhatComesLater(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "run.trace")
	for _, c := range []struct {
		name string
		args []string
		want []fence.Later
	}{
		{"trace", []string{"trace", "--duration", "5s"}, []fence.Later{{}}},
		{"trace with stacks", []string{"trace", "--duration", "5s", "--diagnose"}, []fence.Later{{Stacks: true}}},
		{"trace into a file", []string{"trace", "--duration", "5s", "-w", file}, []fence.Later{{}}},
		{"record into one file", []string{"record", "--duration", "5s", "-w", file}, []fence.Later{{}}},
		{"record into several", []string{"record", "--duration", "5s", "-w", file, "--rotate-every", "1s"}, []fence.Later{{Files: true}}},
		{"record a command", []string{"record", "-w", file, "--", "true"}, []fence.Later{{Signal: true}}},
		{"flight recorder", []string{"record", "--duration", "5s", "--last", "1s", "--trigger", "stall", "-w", dir}, []fence.Later{{Files: true}}},
		{"snapshot, again and again", []string{"snapshot", "--watch", "1s", "--duration", "3s"}, []fence.Later{{}}},
		{"snapshot", []string{"snapshot"}, nil},
		{"a recording", []string{"trace", "-r", file}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := incidentKernel()
			a := fakeApp(k, &bytes.Buffer{})
			a.env.spawn = func(run func()) { run() }
			a.env.evidence = func(context.Context, suspect, time.Duration, string, bool) (*diagnose.Evidence, error) {
				return &diagnose.Evidence{}, nil
			}
			var got []fence.Later
			a.env.fence = func(later fence.Later) error {
				got = append(got, later)
				return nil
			}
			if code := a.run(t.Context(), c.args); code != exitDone {
				t.Errorf("exit code %d", code)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("fenced for %+v, want %+v", got, c.want)
			}
		})
	}
}
