package vmcli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/vm"
)

func newTest(a *app) *cobra.Command {
	var f machineFlags
	var b build
	cmd := &cobra.Command{
		Use:   "test [flags] PACKAGE [-- TEST FLAGS]",
		Short: "Run a package's tests in each kernel",
		Long: `Compile a package's tests for the architecture of each kernel, run them there in
a directory with the package's testdata, and end with a table. Variables
ACCEPTWATCH_* are passed on.`,
		Example: `  vmrun test --tags kernel ./internal/probe -- -run TestFin -count 1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash > 1 || dash < 0 && len(args) > 1 {
				return &usageError{"one package at a time; flags of the tests come after --"}
			}
			dir, err := os.MkdirTemp("", "vmrun-test-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			base, err := f.run(cmd.Context())
			if err != nil {
				return err
			}
			kernels, err := a.fetched(cmd.Context(), false)
			if err != nil {
				return err
			}
			runs, err := prepareTests(cmd.Context(), base, kernels, b, dir, args[0], testArguments(args[1:], f.timeout)...)
			if err != nil {
				return err
			}
			runOf := func(k vm.Kernel) vm.Run { return runs[k.Arch] }
			outcomes, err := a.each(cmd.Context(), kernels, runOf, &f, func(o *outcome) io.Writer { return &o.counts })
			if tableErr := writeTable(a.stdout, outcomes); err == nil {
				err = tableErr
			}
			for _, o := range outcomes {
				for _, name := range o.counts.failures {
					fmt.Fprintf(a.stdout, "%s: failed: %s\n", o.kernel.Name, name)
				}
			}
			a.explain(cmd.Context(), outcomes)
			return err
		},
	}
	cmd.Flags().StringVar(&b.tags, "tags", "", "build tags")
	cmd.Flags().BoolVar(&b.race, "race", false, "with the race detector")
	f.add(cmd)
	return cmd
}

// listed is what the go command tells about a package.
type listed struct{ Dir, ImportPath string }

// build is how tests are compiled.
type build struct {
	arch, tags string
	race       bool
}

// prepareTests compiles a package's tests for each architecture among the
// kernels, and returns the run for each.
func prepareTests(ctx context.Context, base vm.Run, kernels []vm.Kernel, b build, dir, pattern string, arguments ...string) (map[string]vm.Run, error) {
	runs := map[string]vm.Run{}
	for _, k := range kernels {
		if _, ok := runs[k.Arch]; ok {
			continue
		}
		b.arch = k.Arch
		run, err := prepareTest(ctx, base, b, dir, pattern)
		if err != nil {
			return nil, err
		}
		run.Argv = append(run.Argv, arguments...)
		runs[k.Arch] = run
	}
	return runs, nil
}

// prepareTest compiles a package's tests into dir and returns the run with them.
func prepareTest(ctx context.Context, run vm.Run, b build, dir, pattern string) (vm.Run, error) {
	if b.race && b.arch != runtime.GOARCH {
		return run, &usageError{"the race detector is written in C, and only Go is compiled for " + b.arch + " here"}
	}
	out, err := b.goCommand(ctx, "list", "-json=Dir,ImportPath", "-tags="+b.tags, pattern)
	if err != nil {
		return run, err
	}
	var pkg listed
	packages := json.NewDecoder(bytes.NewReader(out))
	if err := packages.Decode(&pkg); err != nil {
		return run, fmt.Errorf("find the package %s: %w", pattern, err)
	}
	if packages.More() {
		return run, &usageError{pattern + " is more than one package; vmrun tests one at a time"}
	}
	name := path.Base(pkg.ImportPath) + ".test"
	binary := filepath.Join(dir, b.arch, name)
	args := []string{"test", "-c", "-tags=" + b.tags, "-o", binary}
	if b.race {
		args = append(args, "-race")
	}
	if _, err := b.goCommand(ctx, append(args, pkg.ImportPath)...); err != nil {
		return run, err
	}
	if _, err := os.Stat(binary); err != nil {
		return run, fmt.Errorf("%s has no tests with these build tags", pkg.ImportPath)
	}
	run.Dir = "/src/" + pkg.ImportPath
	guestBinary := "/usr/local/bin/" + name
	run.Files = append(slices.Clip(run.Files), vm.File{Host: binary, Guest: guestBinary, Libraries: true})
	if data := filepath.Join(pkg.Dir, "testdata"); exists(data) {
		run.Files = append(run.Files, vm.File{Host: data, Guest: run.Dir + "/testdata"})
	}
	run.Argv, run.Env = []string{guestBinary}, slices.Clip(run.Env)
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "ACCEPTWATCH_") {
			run.Env = append(run.Env, variable)
		}
	}
	return run, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// goCommand runs the go command. Without cgo, which only the race detector
// needs, what it builds is static.
func (b build) goCommand(ctx context.Context, args ...string) ([]byte, error) {
	cgo := "0"
	if b.race {
		cgo = "1"
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+b.arch, "CGO_ENABLED="+cgo)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// testArguments are the test binary's: verbose, its own timeout a little before
// the machine's, and the given ones, with or without "test." in front.
func testArguments(given []string, timeout time.Duration) []string {
	args := []string{"-test.v", "-test.paniconexit0", fmt.Sprintf("-test.timeout=%v", timeout-timeout/20)}
	for _, arg := range given {
		name := strings.TrimLeft(arg, "-")
		if name != arg && !strings.HasPrefix(name, "test.") {
			arg = "-test." + name
		}
		args = append(args, arg)
	}
	return args
}

// counts counts the tests that a verbose test binary reports, subtests too.
type counts struct {
	passed, failed, skipped int
	failures                []string // their names
	partial                 []byte
}

// Write takes the binary's standard output. It never fails.
func (c *counts) Write(p []byte) (int, error) {
	c.partial = append(c.partial, p...)
	for {
		line, rest, ok := bytes.Cut(c.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		c.partial = rest
		line = bytes.TrimLeft(line, " ")
		switch {
		case bytes.HasPrefix(line, []byte("--- PASS: ")):
			c.passed++
		case bytes.HasPrefix(line, []byte("--- FAIL: ")):
			c.failed++
			name, _, _ := strings.Cut(string(line[len("--- FAIL: "):]), " ")
			c.failures = append(c.failures, name)
		case bytes.HasPrefix(line, []byte("--- SKIP: ")):
			c.skipped++
		}
	}
}

// writeTable ends a run of tests. The exit code decides what is ok.
func writeTable(w io.Writer, outcomes []outcome) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KERNEL\tVERSION\tVERDICT\tPASSED\tFAILED\tSKIPPED\tSECONDS\tBOOT")
	for _, o := range outcomes {
		var seconds, boot time.Duration
		if o.result != nil {
			seconds, boot = o.result.Elapsed, o.result.Boot
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%.1f\t%.1f\n", o.kernel.Name, o.kernel.Version,
			verdict(o.err), o.counts.passed, o.counts.failed, o.counts.skipped, seconds.Seconds(), boot.Seconds())
	}
	return table.Flush()
}

func verdict(err error) string {
	var (
		exit    *vm.ExitError
		crash   *vm.CrashError
		boot    *vm.BootError
		timeout *vm.TimeoutError
	)
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &exit):
		return fmt.Sprintf("exit %d", exit.Code)
	case errors.As(err, &crash):
		return "crash"
	case errors.As(err, &boot):
		return "no boot"
	case errors.As(err, &timeout):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	default:
		return "error"
	}
}
