package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/diagnose/collect"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

// ward is a fake host whose servers are looked at in no time.
type ward struct {
	answer diagnose.Evidence
	asked  []suspect
	mode   string
}

func newWard() *ward {
	t := diagnose.Thread{TID: 123, Comm: "python3", Run: diagnose.Known(time.Duration(0)), Delay: diagnose.Known(time.Duration(0)),
		Sights: []diagnose.Sight{{Looks: 12, State: "S", Call: "recvfrom",
			Target: diagnose.Target{Kind: diagnose.KindTCP, FD: 7, Peer: "192.0.2.9:5432"}}}}
	return &ward{
		answer: diagnose.Evidence{Time: began + 20*second, Span: 3 * time.Second, Looks: 12, Listener: "127.0.0.1:8000", NetNS: testNetNS, Inode: testInode,
			Processes: []diagnose.Process{{PID: 123, Comm: "python3", Unit: "web.service", Threads: []diagnose.Thread{t}, ThreadCount: 1}}},
	}
}

func (w *ward) gather(_ context.Context, s suspect, _ time.Duration, mode string, _ bool) (*diagnose.Evidence, error) {
	w.asked = append(w.asked, s)
	e := w.answer
	e.Mode, w.mode = mode, mode
	return &e, nil
}

// runWard is runFake with diagnoses.
func runWard(t *testing.T, w *ward, k *fakeKernel, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	a := fakeApp(k, &out)
	a.env.evidence, a.env.spawn = w.gather, func(run func()) { run() }
	code := a.run(t.Context(), args)
	return out.String(), code
}

func TestDiagnoseWithoutEBPF(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		w := newWard()
		w.answer.Queue = diagnose.Queue{Depth: diagnose.Known[uint32](5), Backlog: diagnose.Known[uint32](16),
			Oldest: diagnose.Known(5 * time.Second), Accepting: diagnose.Known(false)}
		out, code := runWard(t, w, newFakeKernel(), "diagnose", "--port", "8000", "--mode", "diag", "-o", format)
		if code != exitDone || len(w.asked) != 1 || w.mode != diagMode {
			t.Errorf("exit code %d, asked %v in mode %s", code, w.asked, w.mode)
		}
		golden.Compare(t, "diagnose_"+format+".txt", []byte(out))
	}
}

// Where eBPF may not be used, the rest is done, and said what is missing.
func TestDiagnoseFallsBackToNoEBPF(t *testing.T) {
	var out bytes.Buffer
	a := fakeApp(newFakeKernel(), &out)
	w := newWard()
	a.env.evidence, a.env.spawn = w.gather, func(run func()) { run() }
	a.openSource = func(context.Context, sourceOptions) (source, error) {
		return nil, unavailable(fs.ErrPermission, "run it as root")
	}
	if code := a.run(t.Context(), []string{"diagnose", "--port", "8000"}); code != exitDone || w.mode != diagMode {
		t.Errorf("exit code %d in mode %s: %s", code, w.mode, out.String())
	}
	if !strings.Contains(out.String(), "not seen: mode diag: ") || !strings.Contains(out.String(), "permission denied") {
		t.Errorf("it does not say what is missing, and why:\n%s", out.String())
	}
	out.Reset()
	if code := a.run(t.Context(), []string{"diagnose", "--port", "8000", "--mode", "fentry"}); code != exitUnavailable {
		t.Errorf("a mode that was asked for and is not there: exit code %d", code)
	}
	a.openSource = func(context.Context, sourceOptions) (source, error) { return nil, errors.New("out of memory") }
	if code := a.run(t.Context(), []string{"diagnose", "--port", "8000"}); code != exitError {
		t.Errorf("another error: exit code %d", code)
	}
}

// Who ends a long diagnosis is told what was seen by then.
func TestDiagnoseThatIsEndedTellsWhatItSaw(t *testing.T) {
	for _, mode := range []string{"fentry", "diag"} {
		var out bytes.Buffer
		a := fakeApp(newFakeKernel(), &out)
		w := newWard()
		ctx, interrupt := context.WithCancel(t.Context())
		a.env.spawn = func(run func()) { go run() }
		a.env.monotonic = func() int64 { return began } // it is not given up
		a.env.evidence = func(until context.Context, s suspect, span time.Duration, mode string, stacks bool) (*diagnose.Evidence, error) {
			interrupt()
			<-until.Done()
			return w.gather(until, s, span, mode, stacks)
		}
		code := a.run(ctx, []string{"diagnose", "--port", "8000", "--for", "1h", "--mode", mode})
		if code != exitDone || !strings.Contains(out.String(), "python3[123]") {
			t.Errorf("mode %s: exit code %d:\n%s", mode, code, out.String())
		}
	}
}

// What could not be looked at is no reason to say nothing of the rest: one process
// may be closed to root, too.
func TestDiagnoseOfNothing(t *testing.T) {
	const unseen = "the network namespaces of 1 process are not known"
	for _, test := range []struct {
		args   string
		err    error // of listing sockets
		listed bool
		want   []string
	}{
		{"--port 81", nil, true, []string{"nothing listens on port 81: "}},
		{"--port 81", &unseenError{processes: 1}, true, []string{unseen, "nothing listens on port 81: "}},
		{"--port 81 --comm nginx", &unseenError{processes: 1}, true, []string{unseen, "nothing listens on port 81: "}},
		{"--comm nginx", nil, true, []string{"nothing listens on any port by nginx: "}},
		{"--comm nginx --port 8000", nil, true, []string{"nothing listens on port 8000 by nginx: "}},
		{"--addr 127.0.0.9", nil, true, []string{"nothing listens on address 127.0.0.9: "}},
		{"--port 8000", unix.EMFILE, false, []string{"too many open files"}},
	} {
		var out bytes.Buffer
		a := fakeApp(newFakeKernel(), &out)
		a.log = zerolog.New(&out)
		list := a.env.sockets
		a.env.sockets = func(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error {
			if test.listed {
				if err := list(ctx, q, f, fn); err != nil {
					return err
				}
			}
			return test.err
		}
		code := a.run(t.Context(), append(strings.Fields("diagnose --mode diag"), strings.Fields(test.args)...))
		if code != exitError {
			t.Errorf("%s: exit code %d", test.args, code)
		}
		for _, want := range test.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in %s", test.args, want, out.String())
			}
		}
	}
}

// What trace says of a stall, a recording of it says too, in trace and report.
func TestStallsAreDiagnosedLiveAndInRecordings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.trace")
	w := newWard()
	w.answer.Processes[0].Threads[0].TID = 125 // that accepts in the incident
	live, code := runWard(t, w, incidentKernel(), "trace", "--duration", "50s", "-w", path)
	why := "WHY 127.0.0.1:8000: python3[123/125] waits for another server: 192.0.2.9:5432 (confidence: high)"
	const stalls = 3
	if code != exitDone || strings.Count(live, why) != stalls {
		t.Fatalf("exit code %d; want %q once for each stall in\n%s", code, why, live)
	}
	if len(w.asked) != stalls || w.asked[0].inode != testInode || w.mode != "fentry" {
		t.Errorf("asked of %+v in mode %s, want once for each stall", w.asked, w.mode)
	}
	_, live, _ = strings.Cut(live, "\nTIME ")
	past, _, _ := replayed(t, "trace", "-r", path)
	if _, past, _ = strings.Cut(past, "\nTIME "); past != live {
		t.Errorf("live:\n%s\nreplayed:\n%s", live, past)
	}
	for args, want := range map[string]bool{
		"trace --diagnose=off": false, "trace --events accepted": false, "trace --port 9000": false,
		"trace --events stall": true, "trace --diagnose": true,
	} {
		shown, _, _ := replayed(t, append(strings.Fields(args), "-r", path)...)
		if strings.Contains(shown, "192.0.2.9:5432") != want {
			t.Errorf("%s: want %v that it is told:\n%s", args, want, shown)
		}
	}
	report, _, _ := replayed(t, "report", path)
	if !strings.Contains(report, "Why it did not: python3[123/125] waits for another server") ||
		!strings.Contains(report, "why nobody accepted") || !strings.Contains(report, "waits for another server: 192.0.2.9:5432") {
		t.Errorf("the report does not say why:\n%s", report)
	}
	for _, command := range []string{"report " + path, "trace -r " + path} {
		lines, _, _ := replayed(t, append(strings.Fields(command), "-o", "json")...)
		if !strings.Contains(lines, `"cause":"downstream"`) {
			t.Errorf("%s: JSON has no diagnosis", command)
		}
		for line := range strings.Lines(lines) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: not JSON: %s", command, line)
			}
		}
	}
}

// A server whose files or memory do not answer keeps diagnose from nothing but
// what they would tell, and what comes late is not another one's.
func TestEvidenceThatDoesNotComeIsGivenUp(t *testing.T) {
	now, release := int64(0), make(chan struct{})
	var late sync.WaitGroup
	env := environment{
		monotonic: func() int64 { return now },
		spawn:     func(run func()) { late.Go(run) },
		evidence: func(_ context.Context, s suspect, _ time.Duration, _ string, _ bool) (*diagnose.Evidence, error) {
			<-release
			return &diagnose.Evidence{Inode: s.inode}, nil
		},
	}
	d := newDiagnostician(&env, 3*time.Second, "fentry", false)
	begin := func(inode uint32) {
		if d.busy {
			t.Fatalf("the diagnosis of %d may not begin", inode)
		}
		d.begin(suspect{inode: inode}, listener.Row{})
	}
	const due = 3*time.Second + gatherGrace
	begin(7)
	if now = int64(due) - 1; d.done() != nil {
		t.Error("it is given up too early")
	}
	now++
	if e := d.done(); e == nil || e.Inode != 7 || e.Span != due || len(e.Blind) != 1 || !strings.Contains(e.Blind[0], "could not be read within "+due.String()) {
		t.Errorf("given up: %+v", e)
	}
	begin(8)
	close(release)
	late.Wait()
	if e := d.done(); e == nil || e.Inode != 8 {
		t.Errorf("the second one: %+v", e)
	}
	if now += int64(2 * due); d.done() != nil {
		t.Error("there is a third one")
	}
}

// What is looked at does not grow with the listeners that are diagnosed at a time.
func TestListenersShareTheThreadsThatAreLookedAt(t *testing.T) {
	w, many := newWard(), mostDiagnosed+2
	var out bytes.Buffer
	a := fakeApp(newFakeKernel(), &out)
	a.env.evidence, a.env.spawn = w.gather, func(run func()) { run() }
	walks, walk := 0, a.env.owners
	a.env.owners = func(inodes map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
		walks++
		return walk(inodes)
	}
	one := a.env.sockets
	a.env.sockets = func(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error {
		return one(ctx, q, f, func(s *hostSocket) {
			for i := range many {
				s.Inode = testInode + uint32(i)
				fn(s)
			}
		})
	}
	if code := a.run(t.Context(), []string{"diagnose", "--port", "8000", "--mode", "diag"}); code != exitDone || len(w.asked) != mostDiagnosed {
		t.Fatalf("exit code %d, asked of %d: %s", code, len(w.asked), out.String())
	}
	threads := 0
	for _, s := range w.asked {
		threads += s.mostThreads()
		if held := s.holders(); len(held.found[s.inode]) == 0 || held.err != nil {
			t.Errorf("who holds %d: %+v", s.inode, held)
		}
	}
	if walks != 1 {
		t.Errorf("%d walks through all processes, want 1", walks)
	}
	if threads != collect.MaxThreads {
		t.Errorf("%d threads are looked at, want %d", threads, collect.MaxThreads)
	}
}

func TestFailuresOfEvidenceAreThoseOfItsSpan(t *testing.T) {
	const emfile, enfile, enobufs = uint16(unix.EMFILE), uint16(unix.ENFILE), uint16(unix.ENOBUFS)
	before := listener.Row{AcceptErrors: []listener.AcceptFailures{{PID: 1, Errno: emfile, Count: 100, Last: 9}, {PID: 1, Errno: enfile, Count: 3, Last: 6}, {PID: 1, Errno: enobufs, Count: 4, Last: 2}}}
	before.Time = 10
	now := listener.Row{AcceptErrors: []listener.AcceptFailures{{PID: 1, Errno: emfile, Count: 107, Last: 19}, {PID: 1, Errno: enfile, Count: 3, Last: 6}, {PID: 1, Errno: enobufs, Count: 4, Last: 2}}}
	now.Time, now.LastAccept = 20, 5
	var e diagnose.Evidence
	addEvents(&e, &before, &now, ui.LastAccept{}, "fentry")
	want := []diagnose.AcceptFailure{{Errno: "EMFILE", PID: 1, Count: 7}, {Errno: "ENFILE", PID: 1, Count: 3}}
	if !slices.Equal(e.Queue.Failures, want) {
		t.Errorf("got %+v, want %+v", e.Queue.Failures, want)
	}
}

func TestNoDiagnosisIsMadeIfNotWanted(t *testing.T) {
	w := newWard()
	if _, code := runWard(t, w, incidentKernel(), "trace", "--duration", "50s", "--diagnose=off"); code != exitDone || len(w.asked) > 0 {
		t.Errorf("exit code %d, asked of %v", code, w.asked)
	}
}
