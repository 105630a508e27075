// Package vmcli is the command line of vmrun.
package vmcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"acceptwatch/internal/vm"
)

// Exit codes of vmrun itself; else it is the guest command's.
const (
	exitError = 125 // the machine, not the command, failed
	exitUsage = 2
)

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// app is what all subcommands have in common.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	kernels        []string
}

// Main runs vmrun and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	code, silent := exitCode(err)
	if !silent {
		fmt.Fprintln(stderr, "vmrun:", err)
	}
	return code
}

// exitCode is the one map from error to exit code; silent errors have been
// shown.
func exitCode(err error) (code int, silent bool) {
	var (
		exit    *vm.ExitError
		usage   *usageError
		unknown *vm.UnknownKernelError
	)
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.Code, true
	case errors.As(err, &usage), errors.As(err, &unknown):
		return exitUsage, false
	case errors.Is(err, context.Canceled):
		return 128 + int(syscall.SIGINT), true
	default:
		return exitError, false
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "vmrun COMMAND",
		Short: "Run commands and tests in the kernels that acceptwatch supports",
		Long: `vmrun boots a command, or a package's tests, in QEMU with each of Debian's
kernels that acceptwatch is tested on, and exits with the command's code. No
/dev/kvm and no privilege is needed. Kernels are fetched once, with the
machine's own apt, into ` + "$ACCEPTWATCH_CACHE" + ` or the user's cache directory.

Exit codes: the worst of the guests' commands; 2 bad usage; 125 no guest could
run it, or it did not end; 126, 127 it could not be started in the guest.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err.Error()} })
	root.PersistentFlags().StringSliceVarP(&a.kernels, "kernel", "k", nil, "kernels, as 5.10,6.1 or arm64-6.1; default all, which is without arm64")
	root.AddCommand(newList(a), newFetch(a), newRun(a), newTest(a))
	return root
}

// fetched returns the chosen kernels, and says what takes time.
func (a *app) fetched(ctx context.Context, refresh bool) ([]vm.Kernel, error) {
	say := func(line string) { fmt.Fprintln(a.stderr, "vmrun:", line) }
	return vm.Fetch(ctx, refresh, say, a.kernels...)
}
