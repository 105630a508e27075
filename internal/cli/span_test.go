package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// tenMinutes is a server that accepts every 10 s, but for a stall that ends after
// 9 min 10 s, and in which a client gives up after 8 min 20 s.
func tenMinutes(stall int64) *fakeKernel {
	var script []action
	for i := range int64(60) {
		at := i * 10 * second
		script = append(script, enters(at+second, 40000+uint16(i)))
		if at < 550*second-stall || at >= 550*second {
			script = append(script, accepts(at+2*second))
		}
	}
	script = append(script, hangsUp(500*second, 40049))
	for i := range stall / (10 * second) {
		script = append(script, accepts(550*second+i*ms))
	}
	k := newFakeKernel(script...)
	k.now = began
	return k
}

// piped is what is told of a recording of which everything is read.
func piped(t *testing.T, recording []byte, args []string) string {
	t.Helper()
	var out, log bytes.Buffer
	a := pastApp(t, &out, &log)
	a.In = bytes.NewReader(recording)
	if code := a.run(t.Context(), args); code != exitDone {
		t.Errorf("%q: exit code %d, %s", args, code, log.String())
	}
	return out.String()
}

// A part of a recording is found without reading what is before it: damage there
// is not met. It is told as if everything had been read, as from a pipe, but for
// what happened in stalls more than a minute before the part.
func TestPartsOfARecordingAreLeaptTo(t *testing.T) {
	path, _ := recorded(t, tenMinutes(60*second), "--duration", "10m")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := func(from, to int) []byte {
		b := bytes.Clone(whole)
		for at := len(b) * from / 100; at < len(b)*to/100; at += 200 {
			b[at] ^= 0x55
		}
		return b
	}
	damaged := filepath.Join(t.TempDir(), "damaged.trace")
	for _, span := range []struct {
		since, until string
		file         []byte
	}{
		{"--since=8m0s", "", damage(5, 40)},
		{"--since=8m50s", "--until=9m30s", damage(5, 40)}, // in the middle of the stall
		{"--since=0s", "--until=30s", damage(20, 90)},
	} {
		if err := os.WriteFile(damaged, span.file, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"trace -o json -r", "report -o json", "report", "export --format csv", "export --format jsonl"} {
			args := append(strings.Fields(command), damaged, span.since)
			if span.until != "" {
				args = append(args, span.until)
			}
			got, logs, code := replayed(t, args...)
			if code != exitDone || strings.Contains(got+logs, "damage") {
				t.Errorf("%q: exit code %d, %.500s", args, code, logs)
			}
			args[len(strings.Fields(command))] = "-"
			if want := piped(t, whole, args); got != want || want == "" {
				t.Errorf("%q: got\n%s\nwant\n%s", args, got, want)
			}
		}
	}
}

func TestReportOfAPartTellsOnlyOfIt(t *testing.T) {
	path, _ := recorded(t, tenMinutes(60*second), "--duration", "10m")
	for _, test := range []struct {
		args    string
		code    int
		want    []string
		without string
	}{
		{"", exitDone, []string{"60 accepted", "1 close_wait"}, "queued at start"},
		{"--since 8m", exitDone, []string{"12 accepted", "1 close_wait", "stalled"}, ""},
		{"--since 9m30s", exitDone, []string{"3 accepted"}, "close_wait"},
		{"--until 5m", exitDone, []string{"30 accepted"}, "close_wait"},
		{"--since 1h", exitUsage, []string{"--since is after the end of"}, "accepted"},
		{"--since 2m --until 1m", exitUsage, []string{"--since is not before --until"}, "accepted"},
	} {
		out, logs, code := replayed(t, append([]string{"report", path}, strings.Fields(test.args)...)...)
		if code != test.code {
			t.Errorf("%s: exit code %d", test.args, code)
		}
		for _, want := range test.want {
			if !strings.Contains(out+logs, want) {
				t.Errorf("%s: no %q in:\n%s%s", test.args, want, out, logs)
			}
		}
		if test.without != "" && strings.Contains(out, test.without) {
			t.Errorf("%s: %q in:\n%s", test.args, test.without, out)
		}
	}
}

// Of joined recordings, those that end before the span are left out.
func TestPartOfOneOfTheJoinedRecordings(t *testing.T) {
	long, _ := recorded(t, tenMinutes(60*second), "--duration", "10m")
	short, _ := recorded(t, starvingKernel(), "--duration", "12s")
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, joined := range map[string][]byte{
		"the first":  append(read(long), read(short)...),
		"the second": append(read(short), read(long)...),
	} {
		path := filepath.Join(t.TempDir(), "joined")
		if err := os.WriteFile(path, joined, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"trace -o json -r", "report -o json"} {
			out, logs, code := replayed(t, append(strings.Fields(command), path, "--since=8m")...)
			if code != exitDone || strings.Count(out, `"type":"summary"`) != 1 || !strings.Contains(out, `"accepted":12,`) {
				t.Errorf("%s of %s: exit code %d, %s\n%s", command, name, code, logs, out)
			}
		}
	}
}

// What is told of a stall that began before all that is read is what samples know:
// not who accepted last.
func TestPartWithinAStallLongerThanTheLead(t *testing.T) {
	path, _ := recorded(t, tenMinutes(240*second), "--duration", "10m")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const last = `"before":{"pid":123,"tid":125,"comm":"python3"},`
	for _, command := range []string{"trace -o json -r", "report -o json"} {
		args := append(strings.Fields(command), path, "--since=8m0s")
		got, logs, code := replayed(t, args...)
		if code != exitDone || logs != "" {
			t.Errorf("%q: exit code %d, %s", args, code, logs)
		}
		args[len(args)-2] = "-"
		all := piped(t, whole, args)
		if strings.Contains(all, last) != strings.HasPrefix(command, "report") {
			t.Errorf("%q: who accepted last, in:\n%s", args, all)
		}
		if want := strings.ReplaceAll(all, last, ""); got != want || want == "" {
			t.Errorf("%q: got\n%s\nwant\n%s", args, got, want)
		}
	}
}

// A part of a recording has its own count of losses, and the words go with that.
func TestLossesOfAPartAreSaidInWordsThatAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	var b bytes.Buffer
	w, err := recording.NewWriter(&b, &recording.Header{Mode: "fentry", Start: began, Clock: recording.Clock{Monotonic: began}}, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, told := range []struct {
		at    int64
		count uint64
	}{{1, 11}, {20, 12}} {
		loss := listener.Loss{What: "ring_full", Text: "event[|s] found the buffer full", Count: told.count}
		sample := &listener.Sample{Time: began + told.at*second, Losses: []listener.Loss{loss}}
		if err := w.WriteSample(sample, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"trace -r", "report"} {
		for since, want := range map[string]string{"0s": "12 events found", "10s": "1 event found"} {
			args := append(strings.Fields(command), path, "--since", since)
			out, logs, code := replayed(t, args...)
			if code != exitDone || !strings.Contains(out, want+" the buffer full") {
				t.Errorf("%q: exit code %d, no %q in\n%s%s", args, code, want, out, logs)
			}
		}
	}
}
