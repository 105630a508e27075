package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/probe"
	"acceptwatch/internal/sockdiag"
)

// stuckKernel is 20 s into the incident: three are queued, of which one hung up
// and one reset.
func stuckKernel() *fakeKernel {
	k := newFakeKernel(enters(-9*second, 40001), enters(-8*second, 40002), hangsUp(-7*second, 40002),
		enters(2*second, 40005), resets(5*second, 40005))
	k.now = began - 10*second
	for k.now < began+20*second {
		_ = k.Read(func(*event.Event) {})
	}
	return k
}

// runSnapshot runs snapshot on a fake kernel that can be changed before, and
// gives what was written and logged.
func runSnapshot(t *testing.T, k *fakeKernel, change func(*app), args ...string) (out, logs string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := fakeApp(k, &stdout)
	a.Err, a.log = &stderr, zerolog.New(&stderr)
	if change != nil {
		change(a)
	}
	code = a.run(t.Context(), append([]string{"snapshot"}, args...))
	return stdout.String(), stderr.String(), code
}

// unprivileged is what a user other than root gets.
func unprivileged(a *app) {
	a.openWalk = func(filter.Filter, int, int) (walk, error) {
		return nil, errors.New("walk queues: no privilege for eBPF")
	}
	list := a.env.sockets
	a.env.sockets = func(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error {
		unseen := &unseenError{}
		unseen.add(&netns.DeniedError{Processes: 41, Err: errors.New("permission denied")})
		return errors.Join(list(ctx, q, f, fn), unseen)
	}
	a.env.owners = func(map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
		return nil, owner.Report{Processes: 50, Denied: 41}, nil
	}
}

func TestSnapshotGoldens(t *testing.T) {
	for _, test := range []struct {
		golden string
		change func(*app)
		args   string
	}{
		{"snapshot_walk.txt", nil, "--connections"},
		{"snapshot_diag.txt", nil, "--connections --mode diag"},
		{"snapshot_unprivileged.txt", unprivileged, "--watch 1s --duration 2s"},
		{"snapshot_walk.jsonl", nil, "--connections -o json"},
		{"snapshot_diag.jsonl", nil, "--connections -o json --mode diag"},
	} {
		out, logs, code := runSnapshot(t, stuckKernel(), test.change, strings.Fields(test.args)...)
		if code != exitDone || logs != "" {
			t.Errorf("%s: exit code %d: %s", test.golden, code, logs)
		}
		golden.Compare(t, test.golden, []byte(out))
	}
}

func TestFailOn(t *testing.T) {
	for _, test := range []struct {
		condition string
		met       string // empty: it is not
		unjudged  bool   // by sock_diag
	}{
		{"close_wait>0", "close_wait>0 at 127.0.0.1:8000", false},
		{"close_wait", "close_wait at 127.0.0.1:8000", false},
		{"close_wait>1", "", false},
		{"reset>=1", "reset>=1 at 127.0.0.1:8000", false},
		{"held_close_wait>3", "", false},
		{"held_close_wait>=3 & wait>28s", "held_close_wait>=3&wait>28s at 127.0.0.1:8000", false},
		{"wait>30s | depth>3 | depth>=90%", "", true},
		{"depth>2", "depth>2 at 127.0.0.1:8000", false},
		{"depth>2%", "depth>2% at 127.0.0.1:8000", false},
		{"overflow>11", "overflow>11 at 127.0.0.1:8000", false},
	} {
		for _, mode := range []string{"walk", "diag"} {
			out, logs, code := runSnapshot(t, stuckKernel(), nil, "--fail-on", test.condition, "--mode", mode, "-o", "json")
			wantCode, wantLogs := exitDone, ""
			if mode == modeDiag && test.unjudged {
				wantLogs = `{"level":"warn","message":"--fail-on wait could not be judged at 127.0.0.1:8000: the age of some queued connections is not known"}` + "\n"
			}
			if test.met != "" {
				wantCode, wantLogs = exitFailOn, "acceptwatch: condition met: "+test.met+"\n"
			}
			if code != wantCode || logs != wantLogs || !strings.Contains(out, `"type":"summary"`) {
				t.Errorf("%s in mode %s: exit code %d, %q", test.condition, mode, code, logs)
			}
		}
	}
	if _, logs, code := runSnapshot(t, stuckKernel(), nil, "--fail-on", "close_wait", "--port", "9000"); code != exitDone || logs != "" {
		t.Errorf("at another port: exit code %d, %q", code, logs)
	}
}

// Who may not look into the processes of others does not say that these hold no
// listener, nor that a condition on it is not met.
func TestListenersOfProcessesThatCannotBeInspectedAreNotSaidToBeAbsent(t *testing.T) {
	const (
		nothing = "nothing listens on any port by nginx"
		unseen  = "no listener of nginx could be seen, as 41 processes could not be inspected"
		judged  = "acceptwatch: --fail-on could not be judged: " + unseen
	)
	closed := func(a *app) { // even to root
		unprivileged(a)
		a.env.owners = func(map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
			return nil, owner.Report{Processes: 50, Denied: 41, EvenRoot: true}, nil
		}
	}
	for _, test := range []struct {
		change    func(*app)
		args      string
		want, not string
		code      int
	}{
		{nil, "", nothing, unseen, exitDone},
		{nil, "--fail-on close_wait", nothing, unseen, exitDone},
		{unprivileged, "", unseen, nothing, exitDone},
		{unprivileged, "-o json", unseen, nothing, exitDone},
		{unprivileged, "--fail-on close_wait", judged + "; run it as root", nothing, exitError},
		{closed, "--fail-on close_wait", judged + "; " + capability.EvenRoot, "as root", exitError},
		{unprivileged, "--fail-on close_wait -o json", judged, nothing, exitError},
		{unprivileged, "--fail-on close_wait --watch 1s --duration 3s", judged, nothing, exitError},
	} {
		out, logs, code := runSnapshot(t, stuckKernel(), test.change, append(strings.Fields(test.args), "--comm", "nginx")...)
		if out += logs; code != test.code || !strings.Contains(out, test.want) || strings.Contains(out, test.not) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s", test.args, code, test.code, test.want, out)
		}
	}
	var out bytes.Buffer
	a := fakeApp(newFakeKernel(), &out)
	unprivileged(a)
	if code := a.run(t.Context(), strings.Fields("diagnose --mode diag --comm nginx")); code != exitError || !strings.Contains(out.String(), unseen+": run it as root") {
		t.Errorf("diagnose: exit code %d: %s", code, out.String())
	}
}

// A watch ends with the first look that meets the condition.
func TestFailOnEndsAWatch(t *testing.T) {
	k := newFakeKernel(enters(-5*second, 40001), hangsUp(7*second, 40001))
	k.now = began
	out, _, code := runSnapshot(t, k, nil, "--watch", "1s", "--fail-on", "close_wait")
	if n := strings.Count(out, "accept queues at "); code != exitFailOn || n != 8 {
		t.Errorf("exit code %d after %d looks, want 8:\n%s", code, n, out)
	}
}

func TestSnapshotFilters(t *testing.T) {
	const here = "127.0.0.1:8000"
	for _, test := range []struct {
		args string
		want bool
	}{
		{"", true}, {"-p 8000", true}, {"-p 7999-8001,1", true}, {"-p 9000", false},
		{"--addr 127.0.0.0/8", true}, {"--addr 127.0.0.2", false}, {"-4", true}, {"-6", false},
		{"--comm python3", true}, {"--comm nginx", false}, {"--netns SELF", false},
	} {
		args := strings.Fields(strings.ReplaceAll(test.args, "SELF", "/proc/self/ns/net"))
		out, logs, code := runSnapshot(t, stuckKernel(), nil, args...)
		if code != exitDone || strings.Contains(out, here) != test.want {
			t.Errorf("%q: exit code %d: %s%s", test.args, code, out, logs)
		}
	}
	for id, want := range map[uint64]bool{testCgroup: true, testCgroup + 1: false} {
		k := stuckKernel()
		l := newLooker(fakeApp(k, nil), &snapshotOptions{cgroups: map[uint64]bool{id: true}})
		s, err := l.look(t.Context())
		if err != nil || (len(s.queues) == 1) != want {
			t.Errorf("cgroup %d: %v, %+v", id, err, s)
		}
	}
}

// What a walk could not show, sock_diag does.
func TestWalkThatDidNotSeeAllIsNotTakenForAll(t *testing.T) {
	k := stuckKernel()
	k.losses = []listener.Loss{{What: "walk_entries", Text: "entr[y|ies] found no room", Count: 1}}
	out, _, _ := runSnapshot(t, k, nil)
	if !strings.Contains(out, "mode diag") || !strings.Contains(out, "too long to be walked") || strings.Contains(out, "lost:") {
		t.Errorf("%s", out)
	}
	out, _, _ = runSnapshot(t, k, nil, "--mode", "walk")
	if !strings.Contains(out, "mode walk") || !strings.Contains(out, "lost: 1 entry found no room") {
		t.Errorf("%s", out)
	}
}

// A network namespace that cannot be entered is missing, and queues are not too
// long for that.
func TestWalkGoesOnWithoutANamespace(t *testing.T) {
	k := stuckKernel()
	k.losses = []listener.Loss{{What: probe.BlindNamespaces, Text: "network namespaces could not be walked", Count: 1}}
	out, _, _ := runSnapshot(t, k, nil)
	if !strings.Contains(out, "mode walk: the queues were walked, not all was seen") || !strings.Contains(out, "lost: 1 network namespaces") {
		t.Errorf("%s", out)
	}
}

// Too long to be walked is what queues are for a while.
func TestWalkIsTriedAgainWhenQueuesAreShorter(t *testing.T) {
	for _, test := range []struct {
		asked, want []int // for so many entries it is opened
	}{
		{[]int{10, 200_000}, []int{1024, probe.MostWalked}},
		{[]int{probe.MostWalked + 1, 2000, 10}, []int{probe.MostWalked + 1, 2000}},
		{[]int{10, probe.MostWalked + 1, 2000}, []int{1024, probe.MostWalked + 1, 2000}},
	} {
		var opened []int
		closed := 0
		a := fakeApp(stuckKernel(), nil)
		a.openWalk = func(_ filter.Filter, entries, _ int) (walk, error) {
			opened = append(opened, entries)
			if entries > probe.MostWalked {
				return nil, probe.ErrTooMany
			}
			return &roomyWalk{entries: entries, closed: &closed}, nil
		}
		l := newLooker(a, &snapshotOptions{})
		for _, entries := range test.asked {
			if err := l.makeRoom(entries, 1); (err != nil) != (entries > probe.MostWalked) {
				t.Errorf("%v: %d entries: %v", test.asked, entries, err)
			}
		}
		if !slices.Equal(opened, test.want) {
			t.Errorf("%v: opened for %v, want %v", test.asked, opened, test.want)
		}
	}
}

// roomyWalk has room for so many entries.
type roomyWalk struct {
	fakeWalk
	entries int
	closed  *int
}

func (w *roomyWalk) Entries() int { return w.entries }
func (w *roomyWalk) Close() error { *w.closed++; return nil }

func TestWalkIsOpenedAgainForALongerQueue(t *testing.T) {
	k := newFakeKernel()
	k.now = began
	for i := range uint16(1500) { // 1,024 there is always room for
		k.script = append(k.script, enters(int64(i)*ms, 10000+i))
	}
	var opened []int
	closed := 0
	out, _, code := runSnapshot(t, k, func(a *app) {
		a.openWalk = func(_ filter.Filter, entries, _ int) (walk, error) {
			opened = append(opened, entries)
			return &roomyWalk{fakeWalk{k}, entries, &closed}, nil
		}
	}, "--watch", "1s", "--duration", "2s")
	if code != exitDone || strings.Count(out, "mode walk") != 3 || !slices.Equal(opened, []int{1024, 3000}) || closed != 2 {
		t.Errorf("exit code %d, opened for %v, closed %d times:\n%s", code, opened, closed, out)
	}
}

// A host where looking takes long is left alone for as long.
func TestWatchRestsAsLongAsItLooks(t *testing.T) {
	for took, want := range map[int64]int64{0: second, 700 * ms: 700 * ms, 3 * second: 3 * second, 200 * ms: 800 * ms} {
		var rests []int64
		_, _, _ = runSnapshot(t, stuckKernel(), func(a *app) {
			now := a.env.monotonic()
			a.env.monotonic = func() int64 { return now }
			list := a.env.sockets
			a.env.sockets = func(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error {
				if q.Ext&sockdiag.ExtSKMemInfo != 0 { // the first listing of a look
					now += took
				}
				return list(ctx, q, f, fn)
			}
			a.env.pause = func(_ context.Context, d time.Duration) bool {
				rests = append(rests, int64(d))
				return false
			}
		}, "--watch", "1s")
		if !slices.Equal(rests, []int64{want}) {
			t.Errorf("a look takes %v, then it rests %v", time.Duration(took), rests)
		}
	}
}

func TestNoSocketsAtAll(t *testing.T) {
	for err, want := range map[error]int{
		&sockdiag.UnavailableError{Err: errors.New("no such file")}: exitUnavailable,
		errors.New("broken"): exitError,
	} {
		_, logs, code := runSnapshot(t, stuckKernel(), func(a *app) {
			a.env.sockets = func(context.Context, sockdiag.Query, *filter.Filter, func(*hostSocket)) error { return err }
		})
		if code != want || !strings.Contains(logs, err.Error()) {
			t.Errorf("%v: exit code %d, %q", err, code, logs)
		}
	}
}
