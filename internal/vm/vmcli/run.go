package vmcli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"acceptwatch/internal/vm"
)

// machineFlags are the flags that describe a run, of a command or of tests.
type machineFlags struct {
	with, files, modules, env, fetch []string
	out, appendArgs                  string
	cpus, memory, parallel           int
	disk                             vm.Disk
	icount, console                  bool
	timeout                          time.Duration
	input                            []byte // of the command; nil: none
}

func (f *machineFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.with, "with", nil, "programs to bring along with their libraries, as nc,ss,python3")
	flags.StringArrayVar(&f.files, "file", nil, "file or directory to bring along, HOST[:GUEST] (repeatable)")
	flags.StringSliceVar(&f.modules, "module", nil, "kernel modules to load besides the usual ones")
	flags.StringArrayVar(&f.env, "env", nil, "NAME=value for the command (repeatable)")
	flags.StringArrayVar(&f.fetch, "fetch", nil, "files of the guest to bring back, a glob (repeatable)")
	flags.StringVar(&f.out, "out", ".", "directory for them; each kernel gets one of its name in it")
	flags.StringVar(&f.appendArgs, "append", "", "kernel arguments")
	flags.IntVar(&f.cpus, "cpus", 2, "processors")
	flags.IntVar(&f.memory, "memory", 0, "memory in MiB (default 1024 and what the files need)")
	flags.IntVar(&f.disk.MiB, "disk", 0, "a disk of so many MiB, mounted at "+vm.DiskMount+" (default: none)")
	flags.IntVar(&f.disk.IOPS, "disk-iops", 0, "requests a second that it serves at most (default: any number)")
	flags.BoolVar(&f.icount, "icount", false, "count instructions: 1 processor, 1 ns of guest time per instruction")
	flags.BoolVar(&f.console, "console", false, "show what the kernel prints")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "for the command, without the boot")
	flags.IntVarP(&f.parallel, "jobs", "j", 1, "how many kernels at a time")
}

// run makes what the flags describe; Argv, Dir and the streams are left out.
func (f *machineFlags) run(ctx context.Context) (vm.Run, error) {
	r := vm.Run{
		Env: f.env, Fetch: f.fetch, Modules: f.modules, CPUs: f.cpus, MemoryMiB: f.memory,
		Append: f.appendArgs, ICount: f.icount, Timeout: f.timeout, Disk: f.disk,
	}
	files, err := vm.Bundle(ctx, f.with...)
	if err != nil {
		return r, err
	}
	r.Files = files
	for _, file := range f.files {
		host, guest, _ := strings.Cut(file, ":")
		if host, err = filepath.Abs(host); err != nil {
			return r, err
		}
		// What runs must find its libraries.
		r.Files = append(r.Files, vm.File{Host: host, Guest: guest, Libraries: true})
	}
	return r, nil
}

func newRun(a *app) *cobra.Command {
	var f machineFlags
	var stdin bool
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARGS]",
		Short: "Run a command in each kernel",
		Long: `Run a command in each kernel. If the command is a program of this host, it is
brought along with its libraries; else it must be in the guest.`,
		Example: `  vmrun run -k 6.1 --with nc,ss -- sh -c 'nc -l 8000 & sleep 1; ss -tln'
  vmrun run --icount --fetch /tmp/out.json --out results -- ./bench`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := f.run(cmd.Context())
			if err != nil {
				return err
			}
			run.Argv = args
			if stdin {
				input, err := io.ReadAll(a.stdin)
				if err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				f.input = input
			}
			if err := bring(cmd.Context(), &run); err != nil {
				return err
			}
			kernels, err := a.fetched(cmd.Context(), false)
			if err != nil {
				return err
			}
			same := func(vm.Kernel) vm.Run { return run }
			outcomes, err := a.each(cmd.Context(), kernels, same, &f, nil)
			a.explain(cmd.Context(), outcomes)
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "pass standard input on, to each kernel the same")
	f.add(cmd)
	return cmd
}

// bring brings the command along, if the host has it.
func bring(ctx context.Context, r *vm.Run) error {
	name := r.Argv[0]
	if !strings.Contains(name, "/") {
		files, err := vm.Bundle(ctx, name)
		if missing := new(vm.MissingProgramError); errors.As(err, &missing) {
			return nil // the guest may have it, or says that it has not
		}
		r.Files = append(r.Files, files...)
		return err
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	r.Argv = append([]string{path}, r.Argv[1:]...)
	r.Binaries = append(r.Binaries, path)
	return nil
}

// outcome is a run in one kernel.
type outcome struct {
	kernel vm.Kernel
	result *vm.Result // nil if there was no end
	err    error
	counts counts
}

// each runs in each kernel what runOf makes for it. The error is the worst: a machine that
// failed, else the *vm.ExitError with the highest code. The observer, if any,
// sees standard output.
func (a *app) each(ctx context.Context, kernels []vm.Kernel, runOf func(vm.Kernel) vm.Run, f *machineFlags, observe func(*outcome) io.Writer) ([]outcome, error) {
	outcomes := make([]outcome, len(kernels))
	out, errs := newPrefixer(a.stdout), newPrefixer(a.stderr)
	var group errgroup.Group
	group.SetLimit(max(1, f.parallel))
	var width int
	for _, k := range kernels {
		width = max(width, len(k.Name))
	}
	for i, k := range kernels {
		group.Go(func() error {
			r, o := runOf(k), &outcomes[i]
			o.kernel, r.Kernel = k, k
			var prefix string
			if len(kernels) > 1 {
				prefix = fmt.Sprintf("%-*s | ", width, k.Name)
			}
			stdout, stderr := out.stream(prefix), errs.stream(prefix)
			defer stdout.finish()
			defer stderr.finish()
			r.Stdout, r.Stderr = stdout, stderr
			if observe != nil {
				r.Stdout = io.MultiWriter(stdout, observe(o))
			}
			if f.console {
				r.Console = stderr
			}
			if f.input != nil {
				r.Stdin = bytes.NewReader(f.input)
			}
			o.result, o.err = r.Do(ctx)
			if o.result != nil {
				for _, failed := range o.result.FailedBoots {
					fmt.Fprintf(stderr, "vmrun: kernel %s: booted again: %s; its last line: %s\n", k.Version, failed.Reason, failed.LastLine())
				}
				o.err = errors.Join(o.err, save(f.out, k.Name, o.result.Files))
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return none
	return outcomes, worst(outcomes)
}

// explain shows how machines failed. It comes last, because what comes before may
// be too long for anybody to find it there.
func (a *app) explain(ctx context.Context, outcomes []outcome) {
	for _, o := range outcomes {
		if exit := new(vm.ExitError); o.err != nil && !errors.As(o.err, &exit) && ctx.Err() == nil {
			fmt.Fprintf(a.stderr, "vmrun: kernel %s: %v\n", o.kernel.Version, o.err)
		}
	}
}

// worst is the error that decides the exit code.
func worst(outcomes []outcome) error {
	var machine error
	var exit *vm.ExitError
	for _, o := range outcomes {
		var e *vm.ExitError
		switch {
		case o.err == nil:
		case errors.As(o.err, &e):
			if exit == nil || e.Code > exit.Code {
				exit = e
			}
		case machine == nil:
			machine = o.err
		}
	}
	switch {
	case errors.Is(machine, context.Canceled):
		return machine
	case machine != nil:
		return &vm.ExitError{Code: exitError} // each has been shown
	case exit != nil:
		return exit
	default:
		return nil
	}
}

// save writes the files that a guest returned below dir/kernel.
func save(dir, kernel string, files map[string][]byte) error {
	for path, content := range files {
		name := filepath.Join(dir, kernel, filepath.Base(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
