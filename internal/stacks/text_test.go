package stacks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acceptwatch/internal/symbol"
)

func TestParseSyscall(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"0 0x3 0x7ffd1 0x1 0x0 0x0 0x0 0x7ffd10c0 0x401234\n": {0x7ffd10c0, 0x401234},
		"-1 0x7ffd10c0 0x401234\n":                            {0x7ffd10c0, 0x401234}, // a page fault
		"running\n":                                           {},
		"":                                                    {},
	} {
		sp, pc, ok := parseSyscall([]byte(text))
		if got := [2]uint64{sp, pc}; got != want || ok != (want != [2]uint64{}) {
			t.Errorf("%q: %#x, %t", text, got, ok)
		}
	}
}

func TestParseStat(t *testing.T) {
	for text, want := range map[string]State{
		"7 (a) S 1": Sleeping, "7 (odd) R (name) D 1": Disk, "7 (a) t 1": Stopped,
		"7 (a) R 1": Running, "7 (a) Z 1": Exited, "7 (a) I 1": OtherWait, "7 (a": OtherWait, "": OtherWait,
	} {
		if got := parseStat([]byte(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestParseStatus(t *testing.T) {
	const text = "Name:\tx: y\nTgid:\t7\nPid:\t9\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n"
	if got, err := parseStatus(strings.NewReader(text), 9); err != nil || got != (thread{tid: 9, pid: 7, switches: 42}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "Name:\tx\n", "Tgid:\tx\n"} {
		if _, err := parseStatus(strings.NewReader(bad), 9); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestStateInWhichAThreadLeft(t *testing.T) {
	for bits, want := range map[uint32]State{
		0: Runnable, 1 << 31: Running, 0x1: Sleeping, 0x2: Disk, 0x102: Disk, 0x4: Stopped, 0x104: Stopped, 0x8: Stopped,
		0x8002: Stopped, 0x80: Exited, 0x200: OtherWait,
	} {
		if got := stateOf(bits); got != want {
			t.Errorf("%#x: %s, want %s", bits, got, want)
		}
	}
}

// memory is words at ascending addresses.
type memory map[uint64]uint64

func (m memory) ReadAt(b []byte, at int64) (int, error) {
	for i := 0; i < len(b); i += 8 {
		word, ok := m[uint64(at)+uint64(i)]
		if !ok {
			return i, syscall.EIO
		}
		binary.LittleEndian.PutUint64(b[i:], word)
	}
	return len(b), nil
}

func TestFollowFramePointers(t *testing.T) {
	endless := memory{}
	for at := uint64(0x1000); at < 0x10000; at += 16 {
		endless[at], endless[at+8] = at+16, 0xc0de
	}
	tests := []struct {
		name  string
		mem   memory
		frame uint64
		want  []uint64
	}{
		{"none", nil, 0, nil},
		{"to the end", memory{0x100: 0x200, 0x108: 0xa, 0x200: 0, 0x208: 0xb}, 0x100, []uint64{0xa, 0xb}},
		{"backwards", memory{0x100: 0x80, 0x108: 0xa, 0x80: 0, 0x88: 0xb}, 0x100, []uint64{0xa}},
		{"to itself", memory{0x100: 0x100, 0x108: 0xa}, 0x100, []uint64{0xa}},
		{"to odd", memory{0x100: 0x201, 0x108: 0xa}, 0x100, []uint64{0xa}},
		{"to nowhere", memory{0x100: 0x200, 0x108: 0xa}, 0x100, []uint64{0xa}},
		{"without an address", memory{0x100: 0x200, 0x108: 0, 0x200: 0, 0x208: 0xb}, 0x100, nil},
		{"endless", endless, 0x1000, slices.Repeat([]uint64{0xc0de}, deepest)},
		{"in the kernel", nil, 1 << 63, nil},
	}
	for _, test := range tests {
		if got := follow(test.mem, test.frame); !slices.Equal(got, test.want) {
			t.Errorf("%s: %#x, want %#x", test.name, got, test.want)
		}
	}
}

func chain(names ...string) []symbol.Frame {
	var frames []symbol.Frame
	for i, name := range names {
		f := symbol.Frame{Function: name, Module: "m", Offset: uint64(i), Address: uint64(i)}
		if name == "" {
			f.Address = 0x1000
		}
		frames = append(frames, f)
	}
	return frames
}

func TestSchedulerIsNoPlace(t *testing.T) {
	tests := map[string]string{
		"bpf_prog_1_off_cpu bpf_trace_run4 __traceiter_sched_switch __schedule schedule futex_wait_queue do_futex": "futex_wait_queue do_futex",
		"pipe_read schedule":  "pipe_read schedule",
		"__schedule schedule": "",
		"":                    "",
	}
	for given, want := range tests {
		if got := withoutScheduler(chain(strings.Fields(given)...)); functions(got) != strings.Join(strings.Fields(want), " < ") {
			t.Errorf("%q: %s", given, functions(got))
		}
	}
}

func TestSamplesOfTheSameFunctionsAreOne(t *testing.T) {
	sample := func(tid int, state State, count uint64, took time.Duration, now bool, user ...string) seen {
		return seen{pid: 7, tid: tid, Sample: Sample{State: state, Count: count, Duration: took, Now: now, User: chain(user...)}}
	}
	moved := sample(8, Running, 2, 0, false, "a", "b")
	moved.User[0].Offset, moved.User[0].Address = 99, 99
	unnamed := sample(8, Running, 1, 0, false, "")
	unnamed.User[0].Address++
	got := threadsOf([]seen{
		sample(9, Sleeping, 1, time.Second, false, "a", "b"),
		sample(8, Running, 5, 0, false, "a", "b"),
		moved,
		sample(8, Running, 4, 0, false, "a", "c"),
		sample(8, Running, 1, 0, false, ""),
		unnamed,
		sample(8, Sleeping, 1, time.Millisecond, false, "a", "b"),
		sample(8, Sleeping, 1, time.Second, true, "a", "b"),
		sample(8, Sleeping, 3, 2*time.Millisecond, false, "a", "b"),
	})
	var text bytes.Buffer
	for _, th := range got {
		for _, s := range th.Samples {
			fmt.Fprintf(&text, "%d %s %d %v %t %s\n", th.TID, s.State, s.Count, s.Duration, s.Now, functions(s.User))
		}
	}
	const want = `8 sleeping 1 1s true a < b
8 sleeping 4 3ms false a < b
8 running 7 0s false a < b
8 running 4 0s false a < c
8 running 1 0s false 
8 running 1 0s false 
9 sleeping 1 1s false a < b
`
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", &text, want)
	}
}

func TestUnavailableSaysWhy(t *testing.T) {
	err := fmt.Errorf("load program: %w", syscall.EINVAL)
	u := unavailable(Blocked, err)
	if !errors.Is(u, syscall.EINVAL) || !strings.Contains(u.Error(), "5.15") {
		t.Errorf("%v", u)
	}
	if u := unavailable(OnCPU, fmt.Errorf("open the clock: %w", syscall.ENOSYS)); !strings.Contains(u.Error(), "does not support") {
		t.Errorf("%v", u)
	}
	if u := unavailable(OffCPU, syscall.EPERM); !strings.Contains(u.Error(), "polic") && !strings.Contains(u.Error(), "root") {
		t.Errorf("%v", u)
	}
}
