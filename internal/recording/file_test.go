package recording

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// What the test binary is to do instead of testing, in this environment
// variable: "kill N FILE", "limit N FILE" or "forever FILE".
const actAs = "RECORDING_TEST_ACT"

func TestMain(m *testing.M) {
	if act := os.Getenv(actAs); act != "" {
		if err := perform(strings.Fields(act)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// recorded is what the other process records: nobody knows how much of it.
func recorded() []entry {
	var all []entry
	for i, e := range traffic(11, 60_000, 20_000) {
		all = append(all, entry{event: &e})
		if i%997 == 0 {
			all = append(all, entry{sample: sampleOf([]event.Event{e}, e.Time, true), waits: true})
		}
	}
	return all
}

func perform(act []string) error {
	path := act[len(act)-1]
	limit := 0
	switch act[0] {
	case "kill":
		limit, _ = strconv.Atoi(act[1])
	case "limit":
		bytes, _ := strconv.ParseUint(act[1], 10, 64)
		signal.Ignore(syscall.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: bytes}); err != nil {
			return err
		}
	}
	f, err := Create(path, header(), FileOptions{})
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		for i, e := range recorded() {
			if err := e.write(f); err != nil {
				return err
			}
			if act[0] == "kill" && i == limit {
				return unix.Kill(os.Getpid(), unix.SIGKILL)
			}
		}
		if act[0] != "forever" {
			return f.Close()
		}
	}
}

func other(t *testing.T, act ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), actAs+"="+strings.Join(act, " "))
	return cmd
}

func TestKilledAtAnyRecordLosesOneBlock(t *testing.T) {
	want := recorded()
	for _, after := range []int{0, 1, 500, MaxEvents - 1, MaxEvents, MaxEvents + 60, 33_333} {
		path := filepath.Join(t.TempDir(), "trace")
		err := other(t, "kill", strconv.Itoa(after), path).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the other process ended with %v", err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, damage, err := readAll(t, file)
		var torn *TornError
		if !errors.As(err, &torn) || torn.Offset != int64(len(file)) || torn.Tail != 0 || len(damage) > 0 {
			t.Errorf("killed after %d: got %v, damage %v", after, err, damage)
		}
		check(t, want[:len(got)], got)
		if lost := after + 1 - len(got); lost > MaxEvents+MaxEvents/997+1 {
			t.Errorf("killed after %d: %d records are lost", after, lost)
		}
		first, last := want[len(got)], want[after]
		if lost := timeOf(last) - timeOf(first); lost > second {
			t.Errorf("killed after %d: %v are lost", after, time.Duration(lost))
		}
	}
}

func timeOf(e entry) int64 {
	if e.event != nil {
		return e.event.Time
	}
	return e.sample.Time
}

// Killed wherever it is, even inside of write.
func TestKilledAtAnyTimeLeavesATrace(t *testing.T) {
	want := recorded()
	for _, size := range []int64{1, 50_000, 300_000, 1_100_000} {
		path := filepath.Join(t.TempDir(), "trace")
		cmd := other(t, "forever", path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if info, err := os.Stat(path); err == nil && info.Size() >= size {
				break
			}
			if time.Now().After(deadline) {
				t.Error("nothing is written")
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // says that it was killed
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, damage, err := readAll(t, file)
		var torn *TornError
		if !errors.As(err, &torn) || torn.Offset+torn.Tail != int64(len(file)) || len(damage) > 0 {
			t.Errorf("got %v, damage %v", err, damage)
		}
		for at := 0; at < len(got); at += len(want) {
			n := min(len(want), len(got)-at)
			check(t, want[:n], got[at:at+n])
		}
	}
}

func TestFileOfLimitedSizeKeepsWholeFrames(t *testing.T) {
	want := recorded()
	for _, limit := range []int64{1, 1000, 200_000, 345_678} {
		path := filepath.Join(t.TempDir(), "trace")
		out, err := other(t, "limit", strconv.FormatInt(limit, 10), path).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no room") {
			t.Errorf("limit %d: got %v: %s", limit, err, out)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, damage, err := readAll(t, file)
		var torn *TornError
		if !errors.As(err, &torn) || torn.Offset != int64(len(file)) || torn.Tail != 0 || len(damage) > 0 {
			t.Errorf("limit %d: got %v, damage %v, of %d bytes", limit, err, damage, len(file))
		}
		if !strings.Contains(string(out), fmt.Sprintf("its first %d bytes can be read", len(file))) {
			t.Errorf("limit %d: %d bytes are there, and it says %s", limit, len(file), out)
		}
		if limit > 200_000 && len(got) == 0 {
			t.Errorf("limit %d: nothing was kept", limit)
		}
		check(t, want[:len(got)], got)
	}
}

func TestFullDeviceIsSaidAtOnce(t *testing.T) {
	f, err := Create("/dev/full", header(), FileOptions{})
	var failed *WriteError
	if !errors.As(err, &failed) || !failed.Full() || failed.Path != "/dev/full" || failed.Offset != 0 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestCreateSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(filepath.Join(dir, "absent", "trace"), header(), FileOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Create("/dev/null", header(), FileOptions{MaxSize: 1}); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("got %v", err)
	}
	f, err := Create("/dev/null", header(), FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := traffic1()
	for range 3 {
		if err := errors.Join(f.WriteEvent(e), f.Flush()); err != nil {
			t.Fatal(err)
		}
		e.Time += 2 * second
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
}

func TestFileIsForItsOwnerOnlyAndReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	for _, noSync := range []bool{false, true} {
		f, err := Create(path, header(), FileOptions{NoSync: noSync})
		if err != nil {
			t.Fatal(err)
		}
		want := anything(5, 300)
		for i := range want {
			if err := errors.Join(want[i].write(f), f.Tick(int64(i)*second/10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteMark(Mark{}); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, damage, err := readAll(t, file)
		if err != nil || len(damage) > 0 {
			t.Fatal(err, damage)
		}
		check(t, want, got)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

// Each part is a trace by itself, and together they are what was recorded.
func TestRotation(t *testing.T) {
	for _, tc := range []struct {
		name  string
		opt   FileOptions
		parts int // those that are left
	}{
		{"by size", FileOptions{MaxSize: 100_000, NoSync: true}, 8},
		{"by age", FileOptions{MaxAge: 500 * time.Millisecond}, 8},
		{"by both, keep 2", FileOptions{MaxSize: 100_000, MaxAge: 500 * time.Millisecond, Keep: 2}, 3},
		{"by age, keep 1", FileOptions{MaxAge: 100 * time.Millisecond, Keep: 1}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a trace.zst")
			others := filepath.Join(dir, "a trace.zst.1") // not numbered as parts are
			if err := os.WriteFile(others, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Create(path, header(), tc.opt)
			if err != nil {
				t.Fatal(err)
			}
			want := recorded()
			clock, owners := Clock{want[0].event.Time, 5}, &Owners{Time: want[0].event.Time, HeldKnown: true}
			if err := errors.Join(f.WriteClock(clock), f.WriteOwners(owners)); err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if err := want[i].write(f); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 {
					if err := f.Tick(timeOf(want[i])); err != nil {
						t.Fatal(err)
					}
				}
			}
			begun := f.Parts()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			names, err := filepath.Glob(path + ".0*")
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(names)
			names = append(names, path)
			if len(names) != tc.parts {
				t.Errorf("%d parts of %d are left, want %d", len(names), begun, tc.parts)
			}
			var all []entry
			for i, name := range names {
				file, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if tc.opt.MaxSize > 0 && int64(len(file)) > tc.opt.MaxSize+MaxFrame {
					t.Errorf("%s has %d bytes", name, len(file))
				}
				r, err := NewReader(bytes.NewReader(file))
				if err != nil {
					t.Fatal(err)
				}
				if h := r.Header(); h.Part != begun-len(names)+1+i || h.Part > 1 && h.Clock != clock {
					t.Errorf("%s has the header %+v", name, h)
				}
				got, damage, err := readAll(t, file)
				if err != nil || len(damage) > 0 {
					t.Fatal(name, err, damage)
				}
				found := slices.IndexFunc(got, func(e entry) bool { return e.owners != nil })
				if found < 0 || !got[found].owners.HeldKnown {
					t.Errorf("%s has no owners", name)
				}
				all = append(all, slices.DeleteFunc(got, func(e entry) bool { return e.owners != nil || e.clock != nil })...)
			}
			check(t, want[len(want)-len(all):], all)
			if tc.opt.Keep == 0 && len(all) != len(want) {
				t.Errorf("%d of %d are left", len(all), len(want))
			}
			if _, err := os.Stat(others); err != nil {
				t.Error(err)
			}
			// Another recording goes on with the numbers.
			if f, err = Create(path, header(), FileOptions{MaxSize: 1}); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.WriteEvent(traffic1()), f.Flush(), f.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(shelved(path, begun)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A part ends between records only, so that each has the keys of its samples.
func TestPartsEndBetweenRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	f, err := Create(path, header(), FileOptions{MaxSize: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	var want []entry
	all := traffic(15, 60_000, 20_000)
	big := &listener.Sample{}
	for i := range 4000 {
		big.Listeners = append(big.Listeners, listener.Counted{ID: uint64(i)})
	}
	for i := range all {
		want = append(want, entry{event: &all[i]})
		if i%1000 == 0 {
			s := *big
			s.Time = all[i].Time
			s.Listeners = slices.Clone(s.Listeners)
			for j := range s.Listeners {
				s.Listeners[j].Accepted = (all[i].ListenerID + uint64(all[i].Time)) * prime1 * uint64(j+1)
				s.Listeners[j].Enqueued = s.Listeners[j].Accepted * prime2
				s.Listeners[j].Purged = s.Listeners[j].Accepted * prime3
			}
			want = append(want, entry{sample: &s})
		}
	}
	owners := &Owners{Time: all[0].Time}
	for i := range 3 * mostListed {
		owners.Held = append(owners.Held, Held{Local: strings.Repeat("x", 300), Inode: uint32(i)})
	}
	for i := range want {
		if i == len(want)/2 || i == len(want)/2+1 {
			if err := f.WriteOwners(owners); err != nil {
				t.Fatal(err)
			}
		}
		if err := want[i].write(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, err := numbered(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []entry
	for _, n := range append(numbers, 0) {
		name := path
		if n > 0 {
			name = shelved(path, n)
		}
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		part, damage, err := readAll(t, file)
		if err != nil || len(damage) > 0 {
			t.Fatalf("part %d of %d: %v, %v", n, len(numbers), err, damage)
		}
		held := 0
		for _, e := range part {
			if e.owners == nil {
				got = append(got, e)
			} else if held += len(e.owners.Held); !e.owners.More && held != len(owners.Held) {
				t.Errorf("part %d has %d of %d owners", n, held, len(owners.Held))
			} else if !e.owners.More {
				held = 0
			}
		}
		if held != 0 {
			t.Errorf("part %d ends inside of the owners", n)
		}
	}
	if len(numbers) < 5 {
		t.Errorf("only %d parts", len(numbers))
	}
	check(t, want, got)
}

func TestFdatasyncAtMostOnceASecond(t *testing.T) {
	for _, tc := range []struct {
		name        string
		noSync      bool
		least, most int
	}{
		{"by default", false, 5, 11}, // 10 s, and at the end
		{"turned off", true, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Create(filepath.Join(t.TempDir(), "trace"), header(), FileOptions{NoSync: tc.noSync, Options: Options{BlockEvents: 100}})
			if err != nil {
				t.Fatal(err)
			}
			var calls atomic.Int64
			f.toDisk = func(fd int) error {
				calls.Add(1)
				return unix.Fdatasync(fd)
			}
			all := traffic(16, 10_000, 1000)
			for i := range all {
				if err := f.WriteEvent(&all[i]); err != nil {
					t.Fatal(err)
				}
				if i%1000 == 999 { // a disk is not as fast as this loop
					for f.syncing != nil && len(f.syncing) == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if n := int(calls.Load()); n < tc.least || n > tc.most {
				t.Errorf("called %d times in %v", n, time.Duration(all[len(all)-1].Time-all[0].Time))
			}
		})
	}
}

func TestFailedFdatasyncIsSaid(t *testing.T) {
	f, err := Create(filepath.Join(t.TempDir(), "trace"), header(), FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.toDisk = func(int) error { return unix.EIO }
	e := traffic1()
	for n := 0; err == nil && n < 1000; n++ {
		e.Time += second
		err = errors.Join(f.WriteEvent(e), f.Tick(e.Time+second))
		time.Sleep(time.Millisecond)
	}
	var failed *WriteError
	if !errors.As(err, &failed) || !errors.Is(err, unix.EIO) || failed.Full() {
		t.Errorf("got %v", err)
	}
	if err := f.Close(); !errors.Is(err, unix.EIO) {
		t.Errorf("closed with %v", err)
	}
}
