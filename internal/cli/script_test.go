package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"acceptwatch/internal/event"
	"acceptwatch/internal/fence"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"acceptwatch": func() {
			os.Exit(Run(context.Background(), os.Args[1:], stdio()))
		},
		// The same with a busy server that is not there, and the fence that is.
		"acceptwatch-busy": func() {
			k := &busyKernel{fakeKernel: newFakeKernel()}
			k.now = began
			a := fakeApp(k.fakeKernel, nil)
			a.Stdio = stdio()
			a.openSource = func(context.Context, sourceOptions) (source, error) { return k, nil }
			a.env.getenv = os.Getenv
			a.env.fence = fence.Set
			os.Exit(runWithSignals(context.Background(), a, os.Args[1:]))
		},
	})
}

func stdio() Stdio { return Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// busyKernel accepts a hundred connections every time it is read.
type busyKernel struct{ *fakeKernel }

func (k *busyKernel) Read(fn func(*event.Event)) error {
	time.Sleep(10 * time.Millisecond)
	for i := range uint16(100) {
		k.script = append(k.script, enters(k.now-began+ms, 1000+i), accepts(k.now-began+2*ms))
	}
	return k.fakeKernel.Read(fn)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"refused": refused,
		},
	})
}

// refused runs acceptwatch, which must exit with 2, print nothing on standard
// output and one line on standard error.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("refused takes no !")
	}
	err := ts.Exec("acceptwatch", args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		ts.Fatalf("acceptwatch %q: %v, want exit code %d", args, err, exitUsage)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output: %s", out)
	}
	if message := ts.ReadFile("stderr"); strings.Count(message, "\n") != 1 {
		ts.Fatalf("not one line: %s", message)
	}
}
