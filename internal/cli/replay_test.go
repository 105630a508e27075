package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

func lossyKernel() *fakeKernel {
	k := incidentKernel()
	k.losses = []listener.Loss{{What: "ring_full", Text: "events found the buffer full", Count: 3}}
	return k
}

func TestReplayIsEqualToTheLiveRun(t *testing.T) {
	sampled := func() *fakeKernel {
		k := incidentKernel()
		k.mode, k.limits = "restricted", []string{"accept is sampled"}
		return k
	}
	for _, test := range []struct {
		name   string
		kernel func() *fakeKernel
		args   string
	}{
		{"incident", incidentKernel, "--duration 50s"},
		{"losses", lossyKernel, "--duration 50s"},
		{"starvation", starvingKernel, "--duration 12s"},
		{"restricted", sampled, "--duration 50s"},
		{"ports", incidentKernel, "--port 8000,9000 --duration 50s"},
		{"another port", incidentKernel, "--port 9000 --duration 50s"},
		{"process", starvingKernel, "--comm python3 --duration 12s"},
		{"another process", starvingKernel, "--comm nginx --duration 12s"},
		{"stalls", incidentKernel, "--stall-after 3s --duration 50s"},
		{"nothing", func() *fakeKernel { return newFakeKernel() }, "--duration 3s"},
	} {
		for _, format := range []string{"json", "text"} {
			t.Run(test.name+" "+format, func(t *testing.T) {
				path, live := recorded(t, test.kernel(), append(strings.Fields(test.args), "-o", format)...)
				past, logs, code := replayed(t, "trace", "-r", path, "-o", format)
				if code != exitDone || logs != "" {
					t.Errorf("exit code %d: %s", code, logs)
				}
				if format == "text" { // its header says what it waits for, and how it ends
					_, live, _ = strings.Cut(live, "\nTIME ")
					_, past, _ = strings.Cut(past, "\nTIME ")
				}
				if live != past || live == "" {
					t.Errorf("live:\n%s\nreplayed:\n%s", live, past)
				}
			})
		}
	}
}

// What lines were shown is not what was recorded.
func TestReplayShowsWhatTheLiveRunDidNot(t *testing.T) {
	everything, _ := runFake(t, incidentKernel(), "-o", "json", "--duration", "50s")
	path, _ := recorded(t, incidentKernel(), "-o", "json", "--duration", "50s", "--events", "stall", "--min-wait", "1m")
	past, _, _ := replayed(t, "trace", "-r", path, "-o", "json")
	if past != everything {
		t.Errorf("want:\n%s\nreplayed:\n%s", everything, past)
	}
	few, _ := runFake(t, incidentKernel(), "-o", "json", "--duration", "50s", "--events", "accepted", "--min-wait", "45s")
	past, _, _ = replayed(t, "trace", "-r", path, "-o", "json", "--events", "accepted", "--min-wait", "45s")
	if past != few {
		t.Errorf("want:\n%s\nreplayed:\n%s", few, past)
	}
}

func TestReplayOfAPart(t *testing.T) {
	path, _ := recorded(t, incidentKernel(), "--duration", "50s")
	for _, test := range []struct {
		args           string
		accepted       int
		duration       time.Duration
		first, without string
	}{
		{"--since 40s", 4, 10*time.Second + 100*time.Millisecond, "14:00:42.5", "14:00:05"},
		{"--since 14:00:42.9 --until 14:00:43.9", 3, time.Second, "14:00:43.001", "14:00:44"},
		{"--since 2024-05-17T14:00:43.95Z", 1, 6150 * time.Millisecond, "14:00:44.000812", "14:00:43.00"},
		{"--until +42s", 1, 42 * time.Second, "14:00:05", "14:00:42.5"},
	} {
		t.Run(test.args, func(t *testing.T) {
			out, logs, code := replayed(t, append([]string{"trace", "-r", path, "-o", "json"}, strings.Fields(test.args)...)...)
			if code != exitDone || logs != "" {
				t.Fatalf("exit code %d: %s", code, logs)
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			summary := lines[len(lines)-1]
			if !strings.Contains(summary, fmt.Sprintf(`"duration_ns":%d,`, test.duration)) ||
				!strings.Contains(summary, fmt.Sprintf(`"accepted":%d,`, test.accepted)) {
				t.Errorf("summary: %s", summary)
			}
			if !strings.Contains(out, test.first) || strings.Contains(out, test.without) {
				t.Errorf("want %s and not %s in:\n%s", test.first, test.without, out)
			}
		})
	}
	out, logs, code := replayed(t, "trace", "-r", path, "--since", "1h")
	if code != exitUsage || !strings.Contains(logs, "--since is after the end") || out != "" {
		t.Errorf("exit code %d: %s%s", code, out, logs)
	}
}

func TestBadRecordingsAreToldInOneSentence(t *testing.T) {
	path, live := recorded(t, incidentKernel(), "-o", "json", "--duration", "50s")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(name string, change func([]byte) []byte) string {
		at := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(at, change(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, test := range []struct {
		name, path string
		code       int
		want       string
		lines      bool // some of it is shown
	}{
		{"missing", filepath.Join(t.TempDir(), "none.trace"), exitError, "there is no such file", false},
		{"directory", t.TempDir(), exitError, "is a directory", false},
		{"empty", changed("empty", func([]byte) []byte { return nil }), exitError, "is empty", false},
		{"text", changed("text", func([]byte) []byte {
			return []byte("hello world, this is no trace, and long enough to be seen as none")
		}),
			exitError, "is no recording", false},
		{"torn", changed("torn", func(b []byte) []byte { return b[:len(b)*3/4] }), exitDone, "cut short: the last whole frame ends at byte ", true},
		{"damaged", changed("damaged", func(b []byte) []byte { b[len(b)/2] ^= 0x40; return b }), exitError, "damaged", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, logs, code := replayed(t, "trace", "-r", test.path, "-o", "json")
			if code != test.code || !strings.Contains(logs, test.want) {
				t.Errorf("exit code %d: %s", code, logs)
			}
			if test.lines != (strings.Contains(out, `"type":"summary"`) && len(out) > 300) || test.name == "torn" && out == live {
				t.Errorf("shown:\n%s", out)
			}
		})
	}
}

func TestRunsThatWereJoinedAreShownOneAfterTheOther(t *testing.T) {
	first, one := recorded(t, incidentKernel(), "-o", "json", "--duration", "50s")
	second, other := recorded(t, starvingKernel(), "-o", "json", "--duration", "12s")
	var joined []byte
	for _, path := range []string{first, second} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, b...)
	}
	var out, logs bytes.Buffer
	a := pastApp(t, &out, &logs)
	a.In = bytes.NewReader(joined)
	if code := a.run(t.Context(), []string{"trace", "-r", "-", "-o", "json"}); code != exitDone || logs.Len() > 0 {
		t.Errorf("exit code %d: %s", code, logs.String())
	}
	if want := one + other; out.String() != want {
		t.Errorf("want:\n%s\nreplayed:\n%s", want, out.String())
	}
}

// A recorder that was killed has made no summary, but what is needed for one.
func TestRecordingWithoutItsEndHasASummary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "killed.trace")
	k := incidentKernel()
	var out bytes.Buffer
	a := fakeApp(k, &out)
	o := &traceOptions{stallAfter: time.Second, json: true}
	l := newLive(a, k, o, newJSONView(&out, newWallClock(&a.env)), newWallClock(&a.env))
	file, err := (&fileFlags{path: path}).create(nil, headerOf(l, sourceOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	l.record(&file.tape)
	if err := l.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for k.now < began+44*second {
		if err := l.step(t.Context(), k.now); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.to.(*recording.File).Flush(); err != nil {
		t.Fatal(err)
	}
	past, logs, code := replayed(t, "trace", "-r", path, "-o", "json")
	if code != exitDone || !strings.Contains(logs, "without its end") {
		t.Errorf("exit code %d: %s", code, logs)
	}
	if !strings.Contains(past, `"accepted":4,`) || !strings.Contains(past, `"wait_ns":{"p50"`) || !strings.Contains(past, `"owners":[{"pid":123`) {
		t.Errorf("shown:\n%s", past)
	}
}

// A recording that ends before its header, or whose user has left before it, has
// nothing to show.
func TestPlayingNothingEnds(t *testing.T) {
	trace, err := os.ReadFile("../recording/testdata/v1.2.trace")
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(trace)
	damaged[40] ^= 0x10
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, test := range []struct {
		name string
		ctx  context.Context
		data []byte
		says string
	}{
		{"damaged header", t.Context(), damaged, "damaged"},
		{"left before the header", left, trace, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "one.trace")
			write(t, path, test.data)
			a := fakeApp(newFakeKernel(), &bytes.Buffer{})
			reader, closer, err := a.openRecording(path)
			if err != nil {
				t.Fatal(err)
			}
			defer closer.Close()
			shown := newTopView(time.Second, false)
			shown.player = newPlayer(a.env.monotonic)
			r := &replay{app: a, how: replayOptions{path: path}, reader: reader, player: shown.player}
			r.make = func(clock *wallClock, _ func() time.Time) view {
				shown.clock = clock
				return shown
			}
			if err := r.run(test.ctx); err != nil {
				t.Error(err)
			}
			err = r.verdict()
			if got := fmt.Sprint(err); err != nil && test.says == "" || !strings.Contains(got, test.says) {
				t.Errorf("the verdict is %v, want %q", err, test.says)
			}
		})
	}
}
