package vmcli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/vm"
	"acceptwatch/internal/vm/elfdeps"
	"acceptwatch/internal/vm/qemu"
)

func TestTestsAreCounted(t *testing.T) {
	const output = `=== RUN   TestA
=== RUN   TestA/sub
--- FAIL: TestA (0.00s)
    --- PASS: TestA/sub (0.00s)
    a_test.go:3: it said --- PASS: in a message
--- SKIP: TestB (0.00s)
--- PASS: TestC (0.00s)
FAIL
`
	var c counts
	for _, b := range []byte(output) { // however it is cut
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if c.passed != 2 || c.failed != 1 || c.skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
	}
	if !slices.Equal(c.failures, []string{"TestA"}) {
		t.Errorf("%q failed, want TestA", c.failures)
	}
}

func TestFlagsReachTheTestBinary(t *testing.T) {
	got := testArguments([]string{"-run", "TestX/-y", "--count=2", "-test.short", "word"}, 100*time.Second)
	want := []string{
		"-test.v", "-test.paniconexit0", "-test.timeout=1m35s",
		"-test.run", "TestX/-y", "-test.count=2", "-test.short", "word",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTestsAreCompiledForTheArchitectureOfTheKernel(t *testing.T) {
	base := vm.Run{Files: make([]vm.File, 1, 10)} // room that two runs must not share
	kernels := []vm.Kernel{{Arch: "arm64"}, {Arch: "amd64"}, {Arch: "arm64"}}
	runs, err := prepareTests(t.Context(), base, kernels, build{}, t.TempDir(), "acceptwatch/internal/vm/wire")
	if err != nil || len(runs) != 2 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for arch, run := range runs {
		if err := elfdeps.Fits(run.Files[1].Host, qemu.Arches[arch].ELF); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
	}
	var usage *usageError
	if _, err := prepareTests(t.Context(), base, kernels[:1], build{race: true}, t.TempDir(), "./x"); !errors.As(err, &usage) {
		t.Errorf("with the race detector: %v", err)
	}
}

func TestOutputOfSeveralKernelsDoesNotMix(t *testing.T) {
	var out bytes.Buffer
	shared := newPrefixer(&out)
	a, b, plain := shared.stream("a| "), shared.stream("b| "), shared.stream("")
	fmt.Fprint(a, "one\ntw")
	fmt.Fprint(b, "three\n")
	fmt.Fprint(plain, "as it is")
	fmt.Fprint(a, "o\nend")
	a.finish()
	b.finish()
	if got, want := out.String(), "a| one\nb| three\nas it isa| two\na| end\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWorstOutcomeDecidesTheExitCode(t *testing.T) {
	tests := []struct {
		name string
		errs []error
		want int
	}{
		{"all well", []error{nil, nil}, 0},
		{"one failed", []error{nil, &vm.ExitError{Code: 3}}, 3},
		{"the highest", []error{&vm.ExitError{Code: 7}, &vm.ExitError{Code: 3}}, 7},
		{"no boot", []error{&vm.BootError{}, &vm.ExitError{Code: 127}}, exitError},
		{"timeout", []error{nil, &vm.TimeoutError{}}, exitError},
		{"interrupted", []error{context.Canceled}, 130},
		{"exit and a file that was not saved", []error{errors.Join(&vm.ExitError{Code: 3}, errors.New("disk full"))}, 3},
	}
	for _, test := range tests {
		var outcomes []outcome
		for _, err := range test.errs {
			outcomes = append(outcomes, outcome{err: err})
		}
		if got, _ := exitCode(worst(outcomes)); got != test.want {
			t.Errorf("%s: exit code %d, want %d", test.name, got, test.want)
		}
	}
}

func TestTableNamesEachKernel(t *testing.T) {
	var out bytes.Buffer
	err := writeTable(&out, []outcome{
		{kernel: vm.Kernel{Name: "6.1", Version: "6.1.192-2"}, result: &vm.Result{Elapsed: 1500 * time.Millisecond}, counts: counts{passed: 12}},
		{kernel: vm.Kernel{Name: "7.x", Version: "7.3.4-1"}, err: &vm.CrashError{}},
	})
	const want = `KERNEL  VERSION    VERDICT  PASSED  FAILED  SKIPPED  SECONDS  BOOT
6.1     6.1.192-2  ok       12      0       0        1.5      0.0
7.x     7.3.4-1    crash    0       0       0        0.0      0.0
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), want)
	}
}

func TestBadUsageIsExitCode2(t *testing.T) {
	t.Setenv("ACCEPTWATCH_CACHE", t.TempDir())
	for _, args := range [][]string{{"list", "-k", "4.19"}, {"list", "--no-such-flag"}, {"test", "./a", "./b"}} {
		var stderr strings.Builder
		if code := Main(args, strings.NewReader(""), io.Discard, &stderr); code != exitUsage || stderr.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, stderr.String())
		}
	}
	var stdout strings.Builder
	if code := Main([]string{"list"}, strings.NewReader(""), &stdout, io.Discard); code != 0 || strings.Count(stdout.String(), "no") != len(vm.Matrix()) {
		t.Errorf("list of an empty cache: exit code %d\n%s", code, stdout.String())
	}
}
