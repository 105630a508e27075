package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"acceptwatch/internal/event"
)

// recordFake runs record on a fake kernel; what it says is in logs.
func recordFake(t *testing.T, k *fakeKernel, out io.Writer, args ...string) (logs string, code int) {
	t.Helper()
	var err bytes.Buffer
	a := fakeApp(k, nil)
	a.Stdio = Stdio{In: strings.NewReader(""), Out: out, Err: &err}
	a.log = zerolog.New(&err)
	code = a.run(t.Context(), append([]string{"record"}, args...))
	if !k.closed {
		t.Error("the source was not closed")
	}
	return err.String(), code
}

// summaryOf is the last line of JSON.
func summaryOf(t *testing.T, out string) (s struct {
	Type                              string
	Accepted, Reset, Losses, Duration uint64
	CloseWait                         uint64 `json:"close_wait"`
}) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Type != "summary" {
		t.Fatalf("%v in %s", err, out)
	}
	return s
}

func TestRecordKeepsWhatTraceShows(t *testing.T) {
	live, _ := runFake(t, incidentKernel(), "-o", "json", "--duration", "50s")
	path := filepath.Join(t.TempDir(), "run.trace")
	logs, code := recordFake(t, incidentKernel(), io.Discard, "-w", path, "--duration", "50s")
	if code != exitDone || !strings.Contains(logs, "recorded ") || !strings.Contains(logs, "; 0 events lost") {
		t.Errorf("exit code %d: %s", code, logs)
	}
	if past, _, _ := replayed(t, "trace", "-r", path, "-o", "json"); past != live {
		t.Errorf("want:\n%s\nreplayed:\n%s", live, past)
	}
	if past, _, _ := replayed(t, "export", path); past != live {
		t.Errorf("want:\n%s\nexported:\n%s", live, past)
	}
}

// What a walk finds in the queues, again and again, is no event.
func TestRecordCountsEventsAsReportDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.trace")
	logs, _ := recordFake(t, incidentKernel(), io.Discard, "-w", path, "--duration", "50s")
	told, _, _ := replayed(t, "report", path, "-o", "json")
	var report struct{ Events int }
	if err := json.Unmarshal([]byte(strings.SplitN(told, "\n", 2)[0]), &report); err != nil || report.Events == 0 {
		t.Fatalf("%v in %s", err, told)
	}
	if want := fmt.Sprintf("recorded %d events of ", report.Events); !strings.Contains(logs, want) {
		t.Errorf("no %q in %s", want, logs)
	}
}

func TestRecordToAPipe(t *testing.T) {
	live, _ := runFake(t, incidentKernel(), "-o", "json", "--duration", "50s")
	var pipe bytes.Buffer
	if logs, code := recordFake(t, incidentKernel(), &pipe, "-w", "-", "--duration", "50s"); code != exitDone {
		t.Errorf("exit code %d: %s", code, logs)
	}
	var out, logs bytes.Buffer
	a := pastApp(t, &out, &logs)
	a.In = &pipe
	if code := a.run(t.Context(), []string{"trace", "-r", "-", "-o", "json"}); code != exitDone || out.String() != live {
		t.Errorf("exit code %d: %s\n%s", code, logs.String(), out.String())
	}
}

// narrow takes so many bytes and then no more.
type narrow struct {
	bytes.Buffer
	room int
	err  error
}

func (w *narrow) Write(p []byte) (int, error) {
	n := min(len(p), w.room-w.Len())
	w.Buffer.Write(p[:n])
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestRecordingThatFindsNoRoom(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"full", syscall.ENOSPC, exitError, "no room (no space left on device): the recording ends here"},
		{"reader gone", syscall.EPIPE, exitDone, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := &narrow{room: 6000, err: test.err}
			logs, code := recordFake(t, incidentKernel(), disk, "-w", "-", "--duration", "50s")
			if code != test.code || !strings.Contains(logs, test.want) {
				t.Errorf("exit code %d: %s", code, logs)
			}
			var out, past bytes.Buffer
			a := pastApp(t, &out, &past)
			a.In = &disk.Buffer
			if code := a.run(t.Context(), []string{"trace", "-r", "-", "-o", "json"}); code != exitDone {
				t.Errorf("exit code %d: %s", code, past.String())
			}
			if s := summaryOf(t, out.String()); s.Accepted == 0 {
				t.Errorf("nothing can be read:\n%s", out.String())
			}
		})
	}
}

func TestRecordingIntoAFullDevice(t *testing.T) {
	logs, code := recordFake(t, incidentKernel(), io.Discard, "-w", "/dev/full", "--duration", "1s")
	if code != exitError || !strings.Contains(logs, "write /dev/full: no room") {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

func TestRecordReturnsTheExitCodeOfItsCommand(t *testing.T) {
	for _, test := range []struct {
		name    string
		command []string
		code    int
		want    string
	}{
		{"done", []string{"true"}, 0, "recorded "},
		{"failed", []string{"sh", "-c", "exit 7"}, 7, "recorded "},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, 137, "recorded "},
		{"its output", []string{"echo", "hello"}, 0, "recorded "},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			path := filepath.Join(t.TempDir(), "run.trace")
			logs, code := recordFake(t, incidentKernel(), &out, append([]string{"-w", path, "--"}, test.command...)...)
			if code != test.code || !strings.Contains(logs, test.want) {
				t.Errorf("exit code %d: %s", code, logs)
			}
			if test.name == "its output" && out.String() != "hello\n" {
				t.Errorf("%q", out.String())
			}
			if past, logs, code := replayed(t, "trace", "-r", path); code != exitDone || !strings.Contains(past, "summary of") {
				t.Errorf("exit code %d: %s%s", code, past, logs)
			}
		})
	}
	var out, logs bytes.Buffer
	a := fakeApp(incidentKernel(), nil)
	a.Stdio = Stdio{Out: &out, Err: &logs}
	if code := a.run(t.Context(), []string{"record", "-w", filepath.Join(t.TempDir(), "x"), "--", "no-such-command"}); code != exitError ||
		!strings.Contains(logs.String(), `cannot run "no-such-command"`) {
		t.Errorf("exit code %d: %s", code, logs.String())
	}
}

// Each part can be read by itself, and counts its own; joined they are the whole.
func TestRotatedRecording(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.trace")
	if logs, code := recordFake(t, incidentKernel(), io.Discard, "-w", path, "--rotate-every", "15s", "--duration", "50s"); code != exitDone {
		t.Fatalf("exit code %d: %s", code, logs)
	}
	parts, err := filepath.Glob(path + "*")
	if err != nil || len(parts) < 3 {
		t.Fatalf("%v, %v", parts, err)
	}
	slices.Sort(parts)
	parts = append(parts[1:], parts[0]) // the one without a number is the latest
	var whole []byte
	var accepted uint64
	for _, part := range parts {
		out, logs, code := replayed(t, "trace", "-r", part, "-o", "json")
		if code != exitDone || logs != "" {
			t.Errorf("%s: exit code %d: %s", part, code, logs)
		}
		accepted += summaryOf(t, out).Accepted
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, b...)
	}
	if accepted != 5 {
		t.Errorf("the parts have %d accepted in all, want 5", accepted)
	}
	joined := filepath.Join(dir, "joined")
	if err := os.WriteFile(joined, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	live, _ := runFake(t, incidentKernel(), "-o", "json", "--duration", "50s")
	past, logs, code := replayed(t, "trace", "-r", joined, "-o", "json")
	// A run that rotates looks at the queues once more with each part.
	end := func(out string) []string { lines := strings.Split(out, "\n"); return lines[max(0, len(lines)-3):] }
	if code != exitDone || !slices.Equal(end(past), end(live)) {
		t.Errorf("exit code %d: %s\nwant:\n%s\nreplayed:\n%s", code, logs, live, past)
	}
}

func TestRotatedRecordingKeepsSoMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.trace")
	recordFake(t, incidentKernel(), io.Discard, "-w", path, "--rotate-size", "4k", "--keep", "2", "--duration", "50s")
	if parts, _ := filepath.Glob(path + "*"); len(parts) != 3 {
		t.Errorf("%v", parts)
	}
}

func TestFlightRecorderKeepsWhatCameBeforeAndAfter(t *testing.T) {
	for _, test := range []struct {
		trigger string
		files   int
		shows   string // in the last file
		without string
	}{
		{"close_wait", 1, `"event":"close_wait"`, "14:00:02"},
		{"reset", 1, `"event":"reset"`, "14:00:42"},
		{"accept_error | depth>90%", 0, "", ""},
		{"wait>40s", 1, "14:00:43.002", "14:00:05"},
	} {
		t.Run(test.trigger, func(t *testing.T) {
			dir := t.TempDir()
			logs, code := recordFake(t, incidentKernel(), io.Discard, "--last", "10s", "--calm", "1s", "--trigger", test.trigger, "-w", dir, "--duration", "50s")
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			if code != exitDone || len(files) != test.files {
				t.Fatalf("exit code %d, files %v: %s", code, files, logs)
			}
			if test.files == 0 {
				return
			}
			past, said, code := replayed(t, "trace", "-r", files[len(files)-1], "-o", "json")
			if code != exitDone || said != "" {
				t.Errorf("exit code %d: %s", code, said)
			}
			if !strings.Contains(past, test.shows) || strings.Contains(past, test.without) {
				t.Errorf("want %s and not %s in:\n%s", test.shows, test.without, past)
			}
		})
	}
}

func TestFlightRecorderFindsNoWaitInAnEmptyQueue(t *testing.T) {
	dir := t.TempDir()
	logs, code := recordFake(t, newFakeKernel(), io.Discard, "--last", "10s", "--trigger", "wait>1s", "-w", dir, "--duration", "20s")
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); code != exitDone || len(files) != 0 {
		t.Errorf("exit code %d, files %v: %s", code, files, logs)
	}
}

// A dump knows who holds the listener that it is for, also if that was not looked up
// within it, and another listener was met since.
func TestDumpKnowsTheHoldersOfAllListeners(t *testing.T) {
	dir := t.TempDir()
	k := incidentKernel()
	k.script = append(k.script, action{began + 35*second, func(k *fakeKernel) {
		k.pending = append(k.pending, event.Event{
			Kind: event.Listener, Time: k.now, ListenerID: testListener + 1, NetNS: testNetNS,
			Local: netip.MustParseAddrPort("127.0.0.1:9000"), Backlog: 5, Inode: 901, Family: 2, State: event.Listening,
		})
	}})
	slices.SortStableFunc(k.script, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	recordFake(t, k, io.Discard, "--last", "3s", "--calm", "1s", "--trigger", "close_wait", "-w", dir, "--duration", "50s")
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 {
		t.Fatalf("%v", files)
	}
	out, logs, code := replayed(t, "report", "-o", "json", files[0])
	if code != exitDone || logs != "" {
		t.Errorf("exit code %d: %s", code, logs)
	}
	if !strings.Contains(out, `"listener":"127.0.0.1:8000","netns":4026531840,"owners":[{"pid":123`) {
		t.Errorf("no holder in:\n%s", out)
	}
}

func TestFlightRecorderRemovesOldFiles(t *testing.T) {
	dir := t.TempDir()
	k := incidentKernel()
	for i := range int64(6) {
		k.script = append(k.script, enters((60+10*i)*second, uint16(50000+i)), hangsUp((61+10*i)*second, uint16(50000+i)))
	}
	recordFake(t, k, io.Discard, "--last", "3s", "--calm", "1s", "--trigger", "close_wait", "--max-files", "2", "-w", dir, "--duration", "120s")
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 2 || !strings.Contains(files[1], "T140151") {
		t.Errorf("%v", files)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "500k": 500 << 10, "64M": 64 << 20, "2GiB": 2 << 30, "1t": 1 << 40, "0": 0, "-1": 0, "x": 0, "1x": 0, "": 0, "9999999t": 0} {
		if got, err := parseSize(text); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1,023 bytes", 1024: "1.0 KiB", 1 << 30: "1.0 GiB"} {
		if got := sizeWords(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
