package symbol

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is read from text, on literal text.

func TestParseMaps(t *testing.T) {
	const text = `00400000-00401000 r--p 00000000 08:01 131083                             /usr/bin/with blanks (deleted) in it
00401000-00480000 r-xp 00001000 08:01 131083                             /usr/bin/with blanks (deleted) in it
7f0000000000-7f0000021000 rwxp 00000000 00:00 0 
7f1000000000-7f1000021000 r-xp 00002000 fd:02 77                         /usr/lib/old.so (deleted)
7ffd3b5d2000-7ffd3b5d4000 r-xp 00000000 00:00 0                          [vdso]
`
	got, err := parseMaps(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []mapping{
		{start: 0x401000, end: 0x480000, offset: 0x1000, device: "08:01", inode: 131083, path: "/usr/bin/with blanks (deleted) in it"},
		{start: 0x7f0000000000, end: 0x7f0000021000, device: "00:00"},
		{start: 0x7f1000000000, end: 0x7f1000021000, offset: 0x2000, device: "fd:02", inode: 77, path: "/usr/lib/old.so", deleted: true},
		{start: 0x7ffd3b5d2000, end: 0x7ffd3b5d4000, device: "00:00", path: "[vdso]"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "x", "0-1 r-xp 0 0:0", "0+1 r-xp 0 0:0 0", "0-g r-xp 0 0:0 0", "0-1 rxp 0 0:0 0"} {
		if _, err := parseMaps(strings.NewReader(bad + "\n")); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseKallsyms(t *testing.T) {
	const text = `ffffffff81000000 T _stext
ffffffff81000200 t inner
ffffffff81000180 D data_is_no_function
ffffffff81000100 T outer
ffffffffc0000000 t helper	[nf_tables]
ffffffffc0001000 t bpf_prog_0a1b_on_cpu	[bpf]
`
	addrs := []uint64{0xffffffff80ffffff, 0xffffffff81000100, 0xffffffff810001ff, 0xffffffff81000200, 0xffffffffc0000010}
	got, err := parseKallsyms(strings.NewReader(text), addrs)
	if err != nil {
		t.Fatal(err)
	}
	want := []Frame{
		{Module: "kernel", Address: addrs[0]},
		{Module: "kernel", Address: addrs[1], Function: "outer"},
		{Module: "kernel", Address: addrs[2], Function: "outer", Offset: 0xff},
		{Module: "kernel", Address: addrs[3], Function: "inner"},
		{Module: "nf_tables", Address: addrs[4], Function: "helper", Offset: 0x10},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHiddenKernelAddressesNameNothing(t *testing.T) {
	const text = "0000000000000000 T _stext\n0000000000000000 T schedule\n"
	frames, err := parseKallsyms(strings.NewReader(text), []uint64{0xffffffff81000100})
	if !errors.Is(err, ErrHidden) || frames[0].Function != "" {
		t.Errorf("%+v, %v", frames, err)
	}
}

func TestParseKernelStack(t *testing.T) {
	const text = `[<0>] futex_wait_queue+0x63/0x90
half a line
[<0>] nft_do_chain+0x1a0/0x5f0 [nf_tables]
[<0>] entry_SYSCALL_64_after_hwframe+0x76/0x7e
`
	want := []Frame{
		{Function: "futex_wait_queue", Module: "kernel", Offset: 0x63},
		{Function: "nft_do_chain", Module: "nf_tables", Offset: 0x1a0},
		{Function: "entry_SYSCALL_64_after_hwframe", Module: "kernel", Offset: 0x76},
	}
	if diff := cmp.Diff(want, ParseKernelStack([]byte(text))); diff != "" {
		t.Error(diff)
	}
}

func TestParsePerfMap(t *testing.T) {
	text := `7f0000001000 100 LazyCompile:~old /srv/@scope/app.js:3
no line of a map
7f0000001100 20 Lcom/example/Server;::handle with blanks
0x7f0000002000 0x40 ` + strings.Repeat("long", 40_000) + `
7f0000001000 80 LazyCompile:*new /srv/@scope/app.js:3
7f0000003000 10 half a li`
	addrs := []uint64{0x7f0000000fff, 0x7f0000001000, 0x7f000000107f, 0x7f0000001080, 0x7f000000111f, 0x7f0000001120, 0x7f0000003000}
	got, err := parsePerfMap(t.Context(), strings.NewReader(text), addrs)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]jitFunction{
		0x7f0000001000: {0x7f0000001000, "LazyCompile:*new /srv/@scope/app.js:3"},
		0x7f000000107f: {0x7f0000001000, "LazyCompile:*new /srv/@scope/app.js:3"},
		0x7f0000001080: {0x7f0000001000, "LazyCompile:~old /srv/@scope/app.js:3"},
		0x7f000000111f: {0x7f0000001100, "Lcom/example/Server;::handle with blanks"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(jitFunction{})); diff != "" {
		t.Error(diff)
	}
}

// endless is a map that a hostile process wrote: each line claims all memory.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	n := 0
	for line := "0 ffffffffffffffff x\n"; n+len(line) <= len(b); {
		n += copy(b[n:], line)
	}
	e.read += n
	return n, nil
}

func TestMapOfAJITIsNotReadPastTheTimeForIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r endless
	if _, err := parsePerfMap(ctx, &r, []uint64{7}); !errors.Is(err, context.Canceled) || r.read > 1<<20 {
		t.Errorf("%d bytes were read: %v", r.read, err)
	}
}

func TestFunctionOfAllMemoryIsNotBelieved(t *testing.T) {
	got, err := parsePerfMap(t.Context(), strings.NewReader("0 ffffffffffffffff x\n0 1000001 y\n10 1000000 z\n"), []uint64{7, 0x20})
	if diff := cmp.Diff(map[uint64]jitFunction{0x20: {0x10, "z"}}, got, cmp.AllowUnexported(jitFunction{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestReadableNames(t *testing.T) {
	for symbol, want := range map[string]string{
		"accept4":                                  "accept4",
		"clock_nanosleep@@GLIBC_2.17":              "clock_nanosleep",
		"clock_nanosleep@GLIBC_2.2.5":              "clock_nanosleep",
		"runtime.goexit.abi0":                      "runtime.goexit",
		"main.(*server).handle":                    "main.(*server).handle",
		"_ZN4Pool6acceptEiPKc":                     "Pool::accept(int, char const*)",
		"_RNvCs1234_7mycrate3foo":                  "mycrate::foo",
		"_ZN3std2io5Write3fmt17h0123456789abcdefE": "std::io::Write::fmt",
		"escape\x1b[31m":                           "escape?[31m",
		strings.Repeat("a", 600):                   strings.Repeat("a", 512) + "...",
		strings.Repeat("é", 300):                   strings.Repeat("é", 256) + "...",
	} {
		if got := readable(symbol); got != want {
			t.Errorf("%q reads %q, want %q", symbol, got, want)
		}
	}
}

func TestChainEndsAtTheStartOfItsThread(t *testing.T) {
	tests := []struct {
		chain, want string
		truncated   bool
	}{
		{"", "", false},
		{"busy", "busy", true},
		{"main", "main", false},
		{"busy main", "busy main", false},
		{"busy main __libc_start_call_main garbage more", "busy main __libc_start_call_main", false},
		{"spin main.serve runtime.goexit", "spin main.serve runtime.goexit", false},
		{"clone pthread_create", "clone pthread_create", true},
		{"work start_thread clone", "work start_thread clone", false},
		{"read garbage", "read garbage", true},
	}
	for _, test := range tests {
		var frames []Frame
		for name := range strings.FieldsSeq(test.chain) {
			frames = append(frames, Frame{Function: name})
		}
		chain, truncated := ended(frames)
		var names []string
		for _, f := range chain {
			names = append(names, f.Function)
		}
		if got := strings.Join(names, " "); got != test.want || truncated != test.truncated {
			t.Errorf("%q: %q, truncated %t", test.chain, got, truncated)
		}
	}
}

func TestParseNSpid(t *testing.T) {
	for text, want := range map[string]string{
		"Name:\tx\nNSpid:\t4711\nKthread:\t0\n": "4711",
		"NSpid:\t4711\t35\t7\n":                 "7",
	} {
		if got, err := parseNSpid(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := parseNSpid(strings.NewReader("Name:\tx\n")); err == nil {
		t.Error("no NSpid, and no error")
	}
}
