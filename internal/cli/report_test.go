package cli

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/recording"
)

// traceOf is a trace in which one client waited 3 s.
func traceOf(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := recording.NewWriter(&b, &recording.Header{Mode: "fentry", Clock: recording.Clock{Monotonic: began}}, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bound := netip.MustParseAddrPort("127.0.0.1:8000")
	for _, e := range []event.Event{
		{Kind: event.Listener, Time: began + second, ListenerID: 1, Local: bound, Family: 2, Backlog: 2, NetNS: testNetNS},
		{Kind: event.Accepted, Time: began + 4*second, Queued: began + second, ListenerID: 1, Local: bound, Family: 2,
			Peer: netip.MustParseAddrPort("127.0.0.1:40001"), Backlog: 2, NetNS: testNetNS, State: event.Established},
	} {
		if err := w.WriteEvent(&e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReportOfAFile(t *testing.T) {
	dir := t.TempDir()
	path, page := filepath.Join(dir, "trace"), filepath.Join(dir, "page.html")
	trace := traceOf(t)
	if err := os.WriteFile(path, append(bytes.Clone(trace), trace...), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, []byte("no trace"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		exit int
		want string // in the output
		most int    // how often, 0: at least once
	}{
		{"report " + path, exitDone, "127.0.0.1:8000", 0},
		{"report -", exitDone, "3.00 s", 0},
		{"report -o json " + path, exitDone, `"type":"report"`, 2},
		{"report --html " + page + " " + path, exitDone, "wrote ", 2},
		{"report", exitUsage, "report takes one FILE", 1},
		{"report a b", exitUsage, "report takes one FILE", 1},
		{"report -o xml " + path, exitUsage, "no format", 1},
		{"report --stall-after -1s " + path, exitUsage, "bad --stall-after", 1},
		{"report " + filepath.Join(dir, "absent"), exitError, "there is no such file", 1},
		{"report " + damaged, exitError, "is no recording of acceptwatch", 1},
	} {
		var out bytes.Buffer
		a := fakeApp(newFakeKernel(), &out)
		a.In = bytes.NewReader(trace)
		code := a.run(t.Context(), strings.Fields(test.args))
		n := strings.Count(out.String(), test.want)
		if code != test.exit || n == 0 || test.most > 0 && n != test.most {
			t.Errorf("%s: exit code %d, %d times %q in:\n%s", test.args, code, n, test.want, out.String())
		}
	}
	for _, name := range []string{page, filepath.Join(dir, "page-2.html")} {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte("127.0.0.1:8000")) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// What cannot be read is told by the exit code, as trace -r and export tell it.
func TestReportOfADamagedRecordingFails(t *testing.T) {
	path, _ := recorded(t, incidentKernel(), "--duration", "50s")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 0x40
	for name, test := range map[string]struct {
		file []byte
		code int
		want string
	}{
		"whole":   {whole, exitDone, ""},
		"damaged": {damaged, exitError, "is damaged: only what could be read was shown"},
		"torn":    {whole[:len(whole)*3/4], exitDone, "cut short: the last whole frame ends at byte "},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, test.file, 0o600); err != nil {
			t.Fatal(err)
		}
		page := filepath.Join(t.TempDir(), "page.html")
		for _, args := range [][]string{{"report", path}, {"report", "-o", "json", path}, {"report", "--html", page, path}} {
			out, logs, code := replayed(t, args...)
			logs = strings.ReplaceAll(logs, "acceptwatch: wrote "+page+"\n", "")
			if code != test.code || !strings.Contains(logs, test.want) || test.want == "" && logs != "" {
				t.Errorf("%s: %q: exit code %d, %q", name, args, code, logs)
			}
			if args[1] != "--html" && !strings.Contains(out, "127.0.0.1:8000") {
				t.Errorf("%s: %q shows %q", name, args, out)
			}
		}
	}
}

func TestReportTellsTimesInTheLocalZone(t *testing.T) {
	for args, want := range map[string]string{"report -": "05:00:01 EAST", "report --utc -": "00:00:01 UTC"} {
		var out bytes.Buffer
		a := fakeApp(newFakeKernel(), &out)
		a.In = bytes.NewReader(traceOf(t))
		a.env.now = func() time.Time { return time.Unix(0, 0).In(time.FixedZone("EAST", 5*3600)) }
		a.run(t.Context(), strings.Fields(args))
		if !strings.Contains(out.String(), "1970-01-01 "+want) {
			t.Errorf("%s: no %s in %s", args, want, out.String())
		}
	}
}
