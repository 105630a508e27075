// Package cli is the command line: one file a subcommand, one map from error
// to exit code. Data goes to standard output, everything else to standard
// error. Nothing here touches the kernel: what does is given to the commands
// by wiring.go, so that tests give them something else.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/ui"
)

// Stdio is what a command reads and writes. Out and Err are asked for their
// terminal size when they are *os.File.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is what all subcommands share. It is made once a run.
type app struct {
	Stdio
	log        zerolog.Logger
	openSource openSource
	openWalk   openWalk
	env        environment
}

// Run executes one command line, without the program's name, and returns its
// exit code. SIGINT, SIGTERM, and SIGHUP when a terminal or ssh session goes away,
// end a command as its normal end does; a closed standard output ends it quietly.
func Run(ctx context.Context, args []string, stdio Stdio) int {
	return runWithSignals(ctx, &app{
		Stdio: stdio, log: newLog(stdio.Err), openSource: openProbe, openWalk: openQueues, env: hostEnvironment(),
	}, args)
}

func runWithSignals(ctx context.Context, a *app, args []string) int {
	ends := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) { // as nohup(1) has it
		ends = append(ends, unix.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	defer stop()
	// A second Ctrl-C kills, but not one that comes with the first: timeout(1)
	// and others signal both the process and its group.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	// Writing to a closed pipe then returns EPIPE instead of killing the
	// process, whatever the descriptor.
	signal.Ignore(unix.SIGPIPE)
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(a.In)
	help := &helpOutput{Writer: a.Out}
	root.SetOut(help)
	root.SetErr(a.Err)

	err := root.ExecuteContext(ctx)
	if err == nil {
		err = help.err
	}
	if message := errorMessage(err); message != "" {
		fmt.Fprintf(a.Err, "acceptwatch: %s\n", message)
	}
	return exitCode(err)
}

func newLog(w io.Writer) zerolog.Logger {
	return zerolog.New(zerolog.ConsoleWriter{
		Out:        w,
		TimeFormat: time.TimeOnly,
		NoColor:    !ui.UseColor(w, os.Getenv),
	}).With().Timestamp().Logger()
}
