package symbol

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests name functions of running programs that tell where their
// functions are.

const goSource = `package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
)

//go:noinline
func busy(n int) int {
	for i := range n {
		n ^= i * n
	}
	return n
}

func main() {
	fmt.Println(reflect.ValueOf(busy).Pointer(), busy(3))
	bufio.NewReader(os.Stdin).ReadString('\n')
}
`

const cSource = `#include <stdio.h>
#include <unistd.h>
static __attribute__((noinline)) long busy(long n) { return n * n + getpid(); }
int main(void)
{
	printf("%lu %lu %ld\n", (unsigned long)&busy, (unsigned long)&getpid, busy(3));
	fflush(stdout);
	return getchar() == EOF;
}
`

func build(t *testing.T, source, file string, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, file), []byte(source), 0o600))
	binary := filepath.Join(dir, "program")
	cmd := exec.Command(command[0], append(command[1:], "-o", binary, file)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GO111MODULE=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return binary
}

// start runs the program and returns its pid and the numbers of its first line.
func start(t *testing.T, binary string) (pid int, numbers []uint64) {
	t.Helper()
	cmd := exec.Command(binary)
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	for field := range strings.FieldsSeq(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		check(t, err)
		numbers = append(numbers, n)
	}
	return cmd.Process.Pid, numbers
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leaf names one address.
func leaf(t *testing.T, pid int, addr uint64) Frame {
	t.Helper()
	stacks, err := New().User(t.Context(), pid, [][]uint64{{addr}})
	check(t, err)
	return stacks[0].Frames[0]
}

func TestGoFunction(t *testing.T) {
	tests := map[string][]string{
		"symbols":              {"go", "build"},
		"stripped":             {"go", "build", "-ldflags=-s -w -B none"},
		"independent":          {"go", "build", "-buildmode=pie"},
		"independent stripped": {"go", "build", "-buildmode=pie", "-ldflags=-s -w"},
	}
	for name, command := range tests {
		t.Run(name, func(t *testing.T) {
			binary := build(t, goSource, "program.go", command...)
			pid, numbers := start(t, binary)
			f := leaf(t, pid, numbers[0]+4)
			want := Frame{Function: "main.busy", Module: binary, BuildID: f.BuildID, Offset: 4, Address: numbers[0] + 4}
			if f != want {
				t.Errorf("%+v, want %+v", f, want)
			}
			if slashes := strings.Count(f.BuildID, "/"); name == "stripped" && slashes != 3 || name != "stripped" && !isHex(f.BuildID) || f.BuildID == "" {
				t.Errorf("build id %q", f.BuildID)
			}
		})
	}
}

func TestExecutableThatWasDeletedOrReplaced(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"deleted": os.Remove,
		"replaced": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("another"), 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			binary := build(t, goSource, "program.go", "go", "build")
			pid, numbers := start(t, binary)
			check(t, change(binary))
			if f := leaf(t, pid, numbers[0]); f.Function != "main.busy" || f.Module != binary {
				t.Errorf("%+v", f)
			}
		})
	}
}

// needs passes the test over where a tool is missing, unless it is demanded.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		switch {
		case err == nil:
		case os.Getenv("ACCEPTWATCH_NEED_GCC") != "":
			t.Fatalf("%v: install Debian's packages gcc and binutils", err)
		default:
			t.Skip(err)
		}
	}
}

func TestCFunctionsOfProgramAndLibrary(t *testing.T) {
	needs(t, "gcc")
	for name, flags := range map[string][]string{
		"independent": {"-pie", "-fPIE"}, "fixed": {"-no-pie"}, "stripped": {"-s", "-rdynamic"},
	} {
		t.Run(name, func(t *testing.T) {
			binary := build(t, cSource, "program.c", append([]string{"gcc", "-O1", "-Wl,--build-id=0x0123456789abcdef"}, flags...)...)
			pid, numbers := start(t, binary)
			f := leaf(t, pid, numbers[0]+1)
			want := Frame{Function: "busy", Module: binary, BuildID: "0123456789abcdef", Offset: 1, Address: numbers[0] + 1}
			if name == "stripped" { // of a static function nothing is left
				want.Function, want.Offset = "", f.Offset
			}
			if f != want {
				t.Errorf("%+v, want %+v", f, want)
			}
			f = leaf(t, pid, numbers[1])
			if !strings.Contains(f.Function, "getpid") || name != "fixed" && !strings.Contains(f.Module, "libc") {
				t.Errorf("%+v, want getpid of libc", f)
			}
		})
	}
}

func TestSymbolsOfADebugFile(t *testing.T) {
	needs(t, "gcc", "strip")
	whole := build(t, cSource, "program.c", "gcc", "-O1", "-Wl,--build-id=0x0123456789abcdef")
	stripped := filepath.Join(t.TempDir(), "stripped")
	if out, err := exec.Command("strip", "-o", stripped, whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	symbols, err := elf.Open(whole)
	check(t, err)
	defer symbols.Close()
	list, err := symbols.Symbols()
	check(t, err)
	at := slices.IndexFunc(list, func(s elf.Symbol) bool { return s.Name == "busy" })
	f, err := os.Open(stripped)
	check(t, err)
	defer f.Close()
	m, err := newImage(f)
	check(t, err)
	var asked string
	places, err := m.lookup(t.Context(), []uint64{list[at].Value + 1}, func(buildID string) (io.ReaderAt, func()) {
		asked = buildID
		debug, err := os.Open(whole)
		check(t, err)
		return debug, func() { debug.Close() }
	})
	check(t, err)
	if got := places[list[at].Value+1]; got != (place{"busy", list[at].Value}) || asked != "0123456789abcdef" {
		t.Errorf("%+v, from the file of %q", got, asked)
	}
}

func TestFileIsNotReadPastTheTimeForIt(t *testing.T) {
	binary := build(t, goSource, "program.go", "go", "build")
	pid, numbers := start(t, binary)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := New()
	stacks, err := s.User(ctx, pid, [][]uint64{{numbers[0]}})
	if !errors.Is(err, context.Canceled) || stacks[0].Frames[0].Function != "" || stacks[0].Frames[0].Module == "" {
		t.Errorf("%+v, %v", stacks, err)
	}
	stacks, err = s.User(t.Context(), pid, [][]uint64{{numbers[0]}})
	if err != nil || stacks[0].Frames[0].Function == "" {
		t.Errorf("it is not looked up later: %+v, %v", stacks, err)
	}
}

func TestCallerIsTheFunctionBeforeTheReturnAddress(t *testing.T) {
	binary := build(t, goSource, "program.go", "go", "build")
	pid, numbers := start(t, binary)
	stacks, err := New().User(t.Context(), pid, [][]uint64{{numbers[0] + 1, numbers[0] + 9, numbers[0], 1, numbers[0]}})
	check(t, err)
	frames := stacks[0].Frames
	if len(frames) != 3 {
		t.Fatalf("%+v: the chain goes on behind what is no code", frames)
	}
	if frames[1].Function != "main.busy" || frames[1].Offset != 9 || frames[1].Address != numbers[0]+9 {
		t.Errorf("%+v", frames[1])
	}
	if frames[2].Function == "main.busy" || frames[2].Address != numbers[0] {
		t.Errorf("a call that is the last instruction of a function is taken for the next one's: %+v", frames[2])
	}
	if !stacks[0].Truncated {
		t.Error("not truncated")
	}
}

func TestVDSO(t *testing.T) {
	p, err := openProcess(os.Getpid())
	check(t, err)
	defer p.close()
	for _, m := range p.mappings {
		if m.path != vdsoPath {
			continue
		}
		data, _, done, err := p.open(m)
		check(t, err)
		defer done()
		code, err := elf.NewFile(data)
		check(t, err)
		symbols, err := code.DynamicSymbols()
		check(t, err)
		for _, s := range symbols {
			if s.Size > 0 && strings.HasPrefix(s.Name, "__") {
				if f := leaf(t, os.Getpid(), m.start+s.Value); f.Module != vdsoPath || !strings.Contains(s.Name, f.Function) || f.Function == "" {
					t.Errorf("%s: %+v", s.Name, f)
				}
			}
		}
		return
	}
	t.Skip("this process has no vDSO")
}

func TestFunctionOfAJIT(t *testing.T) {
	code, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	check(t, err)
	defer unix.Munmap(code)
	at := uint64(uintptrOf(code))
	path := fmt.Sprintf("/tmp/perf-%d.map", os.Getpid())
	check(t, os.WriteFile(path, fmt.Appendf(nil, "%x 40 LazyCompile:*handle app.js:7\n", at+16), 0o600))
	defer os.Remove(path)

	f := leaf(t, os.Getpid(), at+17)
	if want := (Frame{Function: "LazyCompile:*handle app.js:7", Module: "[jit]", Offset: 1, Address: at + 17}); f != want {
		t.Errorf("%+v, want %+v", f, want)
	}
	if f := leaf(t, os.Getpid(), at); f.Function != "" {
		t.Errorf("code without a name is named %+v", f)
	}
}

func TestMapOfAJITThatIsNoFile(t *testing.T) {
	p, err := openProcess(os.Getpid())
	check(t, err)
	defer p.close()
	path := filepath.Join(t.TempDir(), "pipe")
	check(t, unix.Mkfifo(path, 0o600))
	if _, _, err := p.openInRoot(path); err == nil {
		t.Error("a pipe was opened")
	}
}

func TestProcessThatIsGone(t *testing.T) {
	stacks, err := New().User(t.Context(), 1<<22+1, [][]uint64{{42}, {}})
	if err == nil || len(stacks) != 2 || stacks[0].Frames[0] != (Frame{Address: 42}) || !stacks[0].Truncated || stacks[1].Truncated {
		t.Errorf("%+v, %v", stacks, err)
	}
}
