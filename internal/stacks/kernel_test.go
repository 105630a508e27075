package stacks

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/symbol"
)

// These tests attach to the running kernel. In the kernels of the matrix
// (ACCEPTWATCH_MODES is set) what does not work fails them; elsewhere they run
// where this host allows it, and as an ordinary user not at all.

func demanded() bool { return os.Getenv("ACCEPTWATCH_MODES") != "" }

// start attaches for the time of the test. What is asked for must be there.
func start(t *testing.T, o Options) *Sampler {
	t.Helper()
	if os.Geteuid() != 0 && !demanded() {
		t.Skip("attaching needs root")
	}
	s, err := Start(context.Background(), o)
	var u *Unavailable
	if errors.As(err, &u) && !demanded() {
		t.Skip(err)
	}
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	for _, u := range s.missing {
		switch {
		case u.Part == Blocked && !registersExpected(t):
		case demanded():
			t.Fatal(u)
		default:
			t.Skip(u)
		}
	}
	return s
}

// registersExpected says whether the kernel is of Linux 5.15 or later.
func registersExpected(t *testing.T) bool {
	t.Helper()
	release := strings.Fields(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))(t)))[0]
	return !strings.HasPrefix(release, "5.10.")
}

// readUntil reads profiles until one is as the test wants it.
func readUntil(t *testing.T, s *Sampler, done func(*Profile) bool) *Profile {
	t.Helper()
	var p *Profile
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		p = must(s.Read(t.Context()))(t)
		if done(p) {
			return p
		}
	}
	t.Fatalf("timed out; seen so far: %+v", *p)
	return nil
}

// find returns the first sample that fits, of any thread.
func find(p *Profile, fits func(Thread, Sample) bool) (Thread, Sample, bool) {
	for _, th := range p.Threads {
		for _, s := range th.Samples {
			if fits(th, s) {
				return th, s, true
			}
		}
	}
	return Thread{}, Sample{}, false
}

// inPlace finds samples by state and the user function at the leaf.
func inPlace(state State, leaf string) func(Thread, Sample) bool {
	return func(_ Thread, s Sample) bool {
		return s.State == state && len(s.User) > 0 && s.User[0].Function == leaf
	}
}

func has(fits func(Thread, Sample) bool) func(*Profile) bool {
	return func(p *Profile) bool {
		_, _, ok := find(p, fits)
		return ok
	}
}

func functions(frames []symbol.Frame) string {
	var names []string
	for _, f := range frames {
		names = append(names, f.Function)
	}
	return strings.Join(names, " < ")
}

func TestBusyGoFunctionOfANewThreadIsTheLeaf(t *testing.T) {
	cmd := exec.Command(must(os.Executable())(t))
	cmd.Env = append(os.Environ(), asGo+"=1")
	p := run(t, cmd)
	s := start(t, Options{Processes: []int{p.pid}})
	must(p.in.WriteString("\n"))(t)

	const leaf = "acceptwatch/internal/stacks.spinInGo"
	profile := readUntil(t, s, has(inPlace(Running, leaf)))
	th, sample, _ := find(profile, inPlace(Running, leaf))
	if th.PID != p.pid || th.TID == p.pid || th.Comm == "" {
		t.Errorf("thread %d of process %d, comm %q; want a new one of process %d", th.TID, th.PID, th.Comm, p.pid)
	}
	// The leaf has no frame of its own, which hides its caller, unless it was built
	// for the race detector.
	if at := functions(sample.User); sample.Truncated || !strings.HasPrefix(at, leaf+" < ") || !strings.HasSuffix(at, " < runtime.goexit") {
		t.Errorf("truncated %t: %s", sample.Truncated, functions(sample.User))
	}
	if sample.User[0].BuildID == "" || sample.User[0].Module != must(os.Executable())(t) {
		t.Errorf("leaf in module %q of build id %q", sample.User[0].Module, sample.User[0].BuildID)
	}
	if profile.Frequency != 99 {
		t.Errorf("frequency %d", profile.Frequency)
	}
}

func TestBusyCFunctionIsTheLeafAndAMissingFramePointerIsMarked(t *testing.T) {
	for framed, want := range map[bool]string{true: "busy_here < go < main", false: "busy_here"} {
		p := runPlace(t, framed, "busy")
		s := start(t, Options{Processes: []int{p.pid}})
		profile := readUntil(t, s, has(inPlace(Running, "busy_here")))
		_, sample, _ := find(profile, inPlace(Running, "busy_here"))
		// On arm64 the C library's functions have frame pointers: the stack reaches
		// the start, although functions in between are missing.
		truncated := !framed && runtime.GOARCH != "arm64"
		if sample.Truncated != truncated || !strings.HasPrefix(functions(sample.User), want) {
			t.Errorf("with frame pointers %t: truncated %t: %s", framed, sample.Truncated, functions(sample.User))
		}
		if sample.Count == 0 || sample.Duration != 0 {
			t.Errorf("count %d, duration %v on the CPU", sample.Count, sample.Duration)
		}
	}
}

// kernelPlaces are what the kernel's side of each place is called: "pipe_read"
// is anon_pipe_read from 6.16 on.
var kernelPlaces = map[string]string{"read": "pipe_read", "futex": "futex", "sleep": "nanosleep"}

func TestThreadThatSleptBeforeTheStart(t *testing.T) {
	for where, kernel := range kernelPlaces {
		p := runPlace(t, true, where)
		begin := time.Now()
		s := start(t, Options{Threads: []int{p.pid}})
		time.Sleep(20 * time.Millisecond)
		profile := must(s.Read(t.Context()))(t)
		_, sample, ok := find(profile, inPlace(Sleeping, where+"_here"))
		if !ok {
			t.Fatalf("%s: %+v", where, *profile)
		}
		if !sample.Now || !sample.AtLeast || sample.Duration < 20*time.Millisecond || sample.Duration > time.Since(begin) {
			t.Errorf("%s: now %t, at least %t, for %v", where, sample.Now, sample.AtLeast, sample.Duration)
		}
		if len(sample.Kernel) == 0 || !strings.Contains(sample.Kernel[0].Function, kernel) {
			t.Errorf("%s: kernel stack %s, want %s at the leaf", where, functions(sample.Kernel), kernel)
		}
		want := where + "_here < go < main"
		if !registersExpected(t) {
			want = where + "_here"
		}
		if !strings.HasPrefix(functions(sample.User), want) || sample.Truncated == registersExpected(t) {
			t.Errorf("%s: truncated %t: %s", where, sample.Truncated, functions(sample.User))
		}
	}
}

// A sleep is bounded by what the test saw before and after it. What the thread
// asked for bounds nothing: its timer runs already when it leaves the CPU.
func TestThreadThatSleepsWhileItIsWatched(t *testing.T) {
	p := runPlace(t, true, "reads")
	s := start(t, Options{Threads: []int{p.pid}})
	slept := func(_ Thread, s Sample) bool {
		return inPlace(Sleeping, "read_here")(Thread{}, s) && !s.Now && strings.Contains(functions(s.Kernel), kernelPlaces["read"])
	}
	sleeps := func(_ Thread, s Sample) bool {
		return inPlace(Sleeping, "read_here")(Thread{}, s) && s.Now && !s.AtLeast
	}
	// wake returns when the thread sleeps again, after so many sleeps.
	wake := func(count uint64) *Profile {
		must(p.in.WriteString("\n"))(t)
		return readUntil(t, s, func(p *Profile) bool {
			_, past, _ := find(p, slept)
			return past.Count == count && has(sleeps)(p)
		})
	}
	begin := time.Now()
	profile := wake(0) // from the sleep of before the start
	var least time.Duration
	for count := range uint64(3) {
		asleep := time.Now()
		time.Sleep(5 * time.Millisecond)
		least += time.Since(asleep)
		profile = wake(count + 1)
	}
	_, sample, _ := find(profile, slept)
	if most := time.Since(begin); sample.Duration < least || sample.Duration > most {
		t.Errorf("%d sleeps took %v; want from %v to %v", sample.Count, sample.Duration, least, most)
	}
	if len(sample.Kernel) == 0 || !strings.Contains(sample.Kernel[0].Function, kernelPlaces["read"]) {
		t.Errorf("kernel stack %s", functions(sample.Kernel))
	}
	if sample.Truncated || !strings.HasPrefix(functions(sample.User), "read_here < reads_here < go < main") {
		t.Errorf("truncated %t: %s", sample.Truncated, functions(sample.User))
	}
}

func TestThreadThatFallsAsleepAfterTheStartIsThereNow(t *testing.T) {
	p := runPlace(t, true, "nap")
	s := start(t, Options{Threads: []int{p.pid}})
	readUntil(t, s, has(inPlace(Sleeping, "sleep_here")))
	check(t, unix.Kill(p.pid, unix.SIGSTOP))
	stopped := func(_ Thread, s Sample) bool { return s.State == Stopped && s.Now }
	profile := readUntil(t, s, has(stopped))
	if _, sample, _ := find(profile, stopped); sample.AtLeast || len(sample.Kernel) == 0 {
		t.Errorf("at least %t, kernel stack %s", sample.AtLeast, functions(sample.Kernel))
	}
}

func TestOtherProcessesNeverShow(t *testing.T) {
	asked, other := runPlace(t, true, "busy"), runPlace(t, true, "busy")
	napping := runPlace(t, true, "nap")
	s := start(t, Options{Processes: []int{asked.pid}, Threads: []int{asked.pid}})
	profile := readUntil(t, s, has(inPlace(Running, "busy_here")))
	for _, th := range profile.Threads {
		if th.PID != asked.pid || th.TID != asked.pid {
			t.Errorf("thread %d of process %d shows; asked was %d, not %d and %d", th.TID, th.PID, asked.pid, other.pid, napping.pid)
		}
	}
}

func TestWhatFindsNoRoomIsCounted(t *testing.T) {
	p := runPlace(t, true, "busy")
	q := runPlace(t, true, "nap")
	s := start(t, Options{Processes: []int{p.pid, q.pid}, Threads: []int{q.pid}, Stacks: 1, Counts: 1})
	profile := readUntil(t, s, func(p *Profile) bool { return p.Lost.Samples > 0 && p.Lost.Stacks > 0 })
	counted := 0
	for _, th := range profile.Threads {
		for _, sample := range th.Samples {
			if !sample.Now {
				counted++
			}
		}
	}
	if counted != 1 {
		t.Errorf("%d samples are counted, with room for one: %+v", counted, profile.Threads)
	}
}

func TestExitedProcessHasAddressesOnly(t *testing.T) {
	p := runPlace(t, true, "busy")
	s := start(t, Options{Processes: []int{p.pid}})
	readUntil(t, s, has(inPlace(Running, "busy_here")))
	check(t, unix.Kill(p.pid, unix.SIGKILL))
	profile := readUntil(t, s, func(p *Profile) bool { return len(p.Unnamed) > 0 })
	_, sample, ok := find(profile, func(_ Thread, s Sample) bool { return s.State == Running && len(s.User) > 0 })
	if !ok || sample.User[0].Function != "" || sample.User[0].Address == 0 || !sample.Truncated {
		t.Errorf("%+v", sample)
	}
}

func TestOnlyWhatIsAskedForIsAttached(t *testing.T) {
	p := runPlace(t, true, "read")
	s := start(t, Options{Threads: []int{p.pid}})
	if len(s.events) != 0 {
		t.Error("clocks run although no process is sampled")
	}
	s = start(t, Options{Processes: []int{p.pid}})
	if s.switches != nil || s.registers != nil {
		t.Error("switches are watched although no thread is")
	}
}

func TestNothingToTake(t *testing.T) {
	if _, err := Start(context.Background(), Options{}); err == nil {
		t.Error("started without a process or a thread")
	}
}
