package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/sockdiag"
)

// fakeApp runs commands on a fake kernel, in its time.
func fakeApp(k *fakeKernel, out *bytes.Buffer) *app {
	server := owner.Process{PID: 123, Comm: "python3", FDs: []int{3}}
	epoch := time.Date(2024, 5, 17, 14, 0, 0, 0, time.UTC)
	return &app{
		Stdio: Stdio{Out: out, Err: out},
		log:   zerolog.Nop(),
		openSource: func(context.Context, sourceOptions) (source, error) {
			return k, nil
		},
		openWalk: func(filter.Filter, int, int) (walk, error) { return fakeWalk{k}, nil },
		env: environment{
			getenv:    func(string) string { return "" },
			now:       func() time.Time { return epoch.Add(time.Duration(k.now - began)) },
			monotonic: func() int64 { return k.now },
			pause: func(ctx context.Context, d time.Duration) bool {
				for until := k.now + int64(d); k.now < until && ctx.Err() == nil; {
					_ = k.Read(func(*event.Event) {}) // which goes on by 100 ms
				}
				return ctx.Err() == nil
			},
			netns: testNetNS,
			sockets: func(_ context.Context, q sockdiag.Query, _ *filter.Filter, fn func(*hostSocket)) error {
				k.sockets(q, func(s sockdiag.Socket) { fn(&hostSocket{s, testNetNS}) })
				return nil
			},
			owners: func(inodes map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
				found := make(map[uint32][]owner.Process)
				for inode := range inodes {
					p := server
					if inode != testInode {
						p.FDs = []int{int(inode) - 894}
					}
					found[inode] = []owner.Process{p}
				}
				return found, owner.Report{}, nil
			},
		},
	}
}

func runFake(t *testing.T, k *fakeKernel, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code := fakeApp(k, &out).run(t.Context(), append([]string{"trace"}, args...))
	if !k.closed {
		t.Error("the source was not closed")
	}
	return out.String(), code
}

func TestIncidentAsText(t *testing.T) {
	out, code := runFake(t, incidentKernel(), "--port", "8000,9000", "--duration", "50s")
	if code != exitDone {
		t.Errorf("exit code %d", code)
	}
	golden.Compare(t, "incident.txt", []byte(out))
}

func TestIncidentAsJSON(t *testing.T) {
	k := incidentKernel()
	k.losses = []listener.Loss{{What: "ring_full", Text: "events found the buffer full", Count: 3}}
	out, _ := runFake(t, k, "-o", "json", "--duration", "50s")
	golden.Compare(t, "incident.jsonl", []byte(out))

	types := map[string]int{}
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		var line struct{ Type string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%v in %s", err, lines.Text())
		}
		types[line.Type]++
	}
	if types["event"] == 0 || types["listener"] != 2 || types["summary"] != 1 || types["loss"] != 1 {
		t.Errorf("lines of types %v", types)
	}
}

func TestStarvationAsText(t *testing.T) {
	out, _ := runFake(t, starvingKernel(), "--duration", "12s")
	golden.Compare(t, "starvation.txt", []byte(out))
}

func TestStarvationAsJSON(t *testing.T) {
	out, _ := runFake(t, starvingKernel(), "-o", "json", "--duration", "12s")
	golden.Compare(t, "starvation.jsonl", []byte(out))
}

// Where the mode does not count them, no refusal is not a true zero.
func TestRefusalsAreLeftOutWhereTheyAreNotCounted(t *testing.T) {
	k := incidentKernel()
	k.mode = "restricted"
	out, _ := runFake(t, k, "-o", "json", "--duration", "50s")
	for _, key := range []string{"overflow", "accept_errors", "max_depth", "migrated_in", "full_ns", "lost", "\"wait_ns\":{"} {
		if strings.Contains(out, key) {
			t.Errorf("%s is told of", key)
		}
	}
}

func TestFailedAcceptsAreFiltered(t *testing.T) {
	const known, unknown = "!! accept() FAILS with EMFILE at 127.0.0.1:8000", "accept() failed with EINVAL on descriptor 3"
	for _, test := range []struct {
		args           string
		known, unknown bool
	}{
		{"", true, true},
		{"--port 8000", true, false},
		{"--port 9000", false, false},
		{"--addr 127.0.0.0/8", true, false},
		{"-6", false, false},
		{"--netns SELF", false, false},
		{"--comm python3", true, true},
		{"--comm nginx", false, false},
		{"--pid 1", false, false},
		{"--events accept_error", true, true},
		{"--events overflow", false, false},
	} {
		args := strings.Fields(strings.ReplaceAll(test.args, "SELF", strconv.Itoa(os.Getpid())))
		out, code := runFake(t, starvingKernel(), append(args, "--duration", "8s")...)
		if code != exitDone {
			t.Errorf("%q: exit code %d: %s", test.args, code, out)
		}
		lines, summary, _ := strings.Cut(out, "\nsummary of ")
		if strings.Contains(lines, known) != test.known || strings.Contains(lines, unknown) != test.unknown {
			t.Errorf("%q: wrong lines:\n%s", test.args, out)
		}
		if test.args == "--events overflow" { // of lines only
			test.unknown = true
		}
		if strings.Contains(summary, "at listeners that are not known") != test.unknown {
			t.Errorf("%q: wrong summary:\n%s", test.args, out)
		}
	}
}

// The kernel names the thread that called accept(), a user the process.
func TestFailedAcceptsAreOfProcessesByTheNameOfAny(t *testing.T) {
	named := owner.Process{PID: 123, Comm: "gunicorn"}
	g := &gatherer{filter: &filter.Filter{Comms: []string{"gunicorn"}}, known: map[uint32][]owner.Process{testInode: {named}}}
	bound := listener.Key{NetNS: testNetNS, Addr: netip.MustParseAddrPort("127.0.0.1:8000")}
	for _, test := range []struct {
		name string
		e    event.Event
		want bool
	}{
		{"a thread of it", event.Event{PID: 123, Comm: comm("worker-1")}, true},
		{"one of the same name", event.Event{PID: 9, Comm: comm("gunicorn")}, true},
		{"another at its listener", event.Event{PID: 9, Comm: comm("child"), Inode: testInode}, true},
		{"another", event.Event{PID: 9, Comm: comm("child")}, false},
	} {
		if got := g.wantsFailure(&test.e, bound); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// An inode is given away again: whoever has it now did not hold what is closed.
func TestOwnersOfClosedListenersAreNotLookedFor(t *testing.T) {
	var asked []uint32
	g := &gatherer{filter: &filter.Filter{}, host: &liveHost{env: &environment{
		monotonic: func() int64 { return 1 },
		owners: func(inodes map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
			found := make(map[uint32][]owner.Process)
			for inode := range inodes {
				asked = append(asked, inode)
				found[inode] = []owner.Process{{PID: int(inode), Comm: "server"}}
			}
			return found, owner.Report{}, nil
		},
	}}}
	key := listener.Key{NetNS: testNetNS, Addr: netip.MustParseAddrPort("127.0.0.1:8000")}
	rows := []listener.Row{{Key: key, Open: 1, Inode: 5}, {Key: key, Closed: 1, Inode: 6}}
	g.listeners(rows)
	rows[0].Open, rows[0].Closed = 0, 1
	all := g.listeners(rows)
	if !slices.Equal(asked, []uint32{5}) {
		t.Errorf("asked for %v", asked)
	}
	if len(all[0].Owners) != 1 || all[0].Owners[0].PID != 5 || all[1].Owners != nil {
		t.Errorf("%+v, %+v", all[0].Owners, all[1].Owners)
	}
}

func comm(name string) (c event.Comm) {
	copy(c[:], name)
	return c
}

func TestLinesAreFilteredAndCountersAreNot(t *testing.T) {
	out, _ := runFake(t, incidentKernel(), "--events", "accepted", "--min-wait", "1s", "--duration", "50s")
	golden.Compare(t, "filtered.txt", []byte(out))
}

func TestPendingConnectionsOfOtherListenersAreNotListed(t *testing.T) {
	out, _ := runFake(t, incidentKernel(), "--port", "9000", "--duration", "1s")
	golden.Compare(t, "other_port.txt", []byte(out))
}

func TestQuietUntilStopped(t *testing.T) {
	defer goleak.VerifyNone(t)
	k := newFakeKernel()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	k.script = []action{{30 * second, func(*fakeKernel) { cancel() }}}
	if code := fakeApp(k, &out).run(ctx, []string{"trace"}); code != exitDone {
		t.Errorf("exit code %d after a signal: %s", code, out.String())
	}
	if !strings.Contains(out.String(), "0 events lost") {
		t.Errorf("no summary after a signal:\n%s", out.String())
	}
}

func TestSourceErrorsHaveExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("broken"), exitError},
		{unavailable(errors.New("not here"), "do that"), exitUnavailable},
		{errors.ErrUnsupported, exitUnavailable},
	} {
		var out bytes.Buffer
		a := fakeApp(newFakeKernel(), &out)
		a.openSource = func(context.Context, sourceOptions) (source, error) { return nil, test.err }
		if code := a.run(t.Context(), []string{"trace"}); code != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, code, test.want)
		}
	}
}

func TestKernelIsAskedForWhatIsShown(t *testing.T) {
	var asked sourceOptions
	var out bytes.Buffer
	k := newFakeKernel()
	a := fakeApp(k, &out)
	a.openSource = func(_ context.Context, o sourceOptions) (source, error) {
		asked = o
		return k, nil
	}
	a.run(t.Context(), []string{"trace", "--events", "stall,reset", "--min-wait", "2s", "--mode", "kprobe",
		"--addr", "127.0.0.0/8", "-4", "-p", "80", "-p", "90-91", "--duration", "1s"})
	if asked.Mode != "kprobe" || asked.MinWait != 2*time.Second || len(asked.Kinds) != 1 || asked.Kinds[0] != event.Reset ||
		asked.Filter.Family != filter.IPv4 || asked.Filter.Addr != netip.MustParsePrefix("127.0.0.0/8") || len(asked.Filter.Ports) != 2 {
		t.Errorf("%+v", asked)
	}
}
