package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/sockdiag"
)

// pastApp runs commands on recordings: it fails the test if the host is asked
// for anything but the zone of its clock.
func pastApp(t *testing.T, out, logs *bytes.Buffer) *app {
	return &app{
		Stdio: Stdio{Out: out, Err: logs},
		log:   zerolog.New(logs),
		openSource: func(context.Context, sourceOptions) (source, error) {
			t.Error("a source was opened")
			return nil, os.ErrInvalid
		},
		env: environment{
			getenv:    func(string) string { return "" },
			now:       func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) },
			monotonic: func() int64 { t.Error("the clock was read"); return 0 },
			netns:     1,
			sockets: func(context.Context, sockdiag.Query, *filter.Filter, func(*hostSocket)) error {
				t.Error("sockets were listed")
				return nil
			},
			owners: func(map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
				t.Error("owners were looked for")
				return nil, owner.Report{}, nil
			},
		},
	}
}

// recorded runs trace -w on a fake kernel, and gives the file and what was shown.
func recorded(t *testing.T, k *fakeKernel, args ...string) (path, shown string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run.trace")
	shown, code := runFake(t, k, append(args, "-w", path)...)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, shown)
	}
	return path, shown
}

// replayed runs a command on a recording.
func replayed(t *testing.T, args ...string) (shown, logs string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = pastApp(t, &out, &err).run(t.Context(), args)
	return out.String(), err.String(), code
}
