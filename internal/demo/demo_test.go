package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the server, and a parent to be killed.
const (
	asServer = "demo-server"
	asParent = "demo-parent"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case asServer:
			fmt.Fprintln(os.Stderr, Serve(os.Stdin, os.Stdout))
			os.Exit(1)
		case asParent:
			p, err := startServer(context.Background(), []string{"/proc/self/exe", asServer})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(p.pid)
			select {}
		}
	}
	goleak.VerifyTestMain(m)
}

func options(t *testing.T, trace Tracer) Options {
	return Options{
		Server: []string{"/proc/self/exe", asServer},
		Trace:  trace,
		Say:    func(format string, args ...any) { t.Logf(format, args...) },
		Beat:   40 * time.Millisecond,
	}
}

// blind attaches and sees nothing.
func blind(ctx context.Context, _ uint16, watch *Watch) error {
	watch.Attached("fentry")
	<-ctx.Done()
	return ctx.Err()
}

// TestIncidentIsWhatItSays checks the traffic against the kernel's own list of
// sockets, and that a tracer that saw nothing is found out.
func TestIncidentIsWhatItSays(t *testing.T) {
	before := descriptors(t)
	o, err := Run(t.Context(), options(t, blind))
	if err != nil {
		t.Fatal(err)
	}
	if o.Look == nil {
		t.Fatal("sockets could not be listed")
	}
	want := Look{Depth: backlog + 1, Backlog: backlog, CloseWait: 6, Established: 7}
	if diff := cmp.Diff(want, *o.Look); diff != "" {
		t.Errorf("sockets before the server resumes (-want +got):\n%s", diff)
	}
	got := []int{o.Queued, o.Early, o.FINs, o.RSTs, o.Refused, o.Found}
	if diff := cmp.Diff([]int{17, 6, 6, 4, 2, 10}, got); diff != "" {
		t.Errorf("queued, early, FIN, RST, refused, found dead (-want +got):\n%s", diff)
	}
	if o.Blocked <= 0 {
		t.Errorf("blocked for %v", o.Blocked)
	}
	if len(o.Differs) != o.Queued {
		t.Errorf("%d differences for %d connections that the tracer missed: %v", len(o.Differs), o.Queued, o.Differs)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestErrorOfTheTracerEndsTheDemo(t *testing.T) {
	refused := errors.New("not permitted")
	_, err := Run(t.Context(), options(t, func(context.Context, uint16, *Watch) error { return refused }))
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want the tracer's error", err)
	}
	_, err = Run(t.Context(), options(t, func(ctx context.Context, _ uint16, watch *Watch) error {
		watch.Attached("fentry")
		return refused
	}))
	if !errors.Is(err, refused) {
		t.Errorf("after attach: got %v, want the tracer's error", err)
	}
}

// TestCancelLeavesNothingBehind ends the demo at each of its steps; goleak and
// the count of descriptors find what is left.
func TestCancelLeavesNothingBehind(t *testing.T) {
	before := descriptors(t)
	for step := range 7 {
		ctx, cancel := context.WithCancel(t.Context())
		o := options(t, blind)
		var (
			mu   sync.Mutex
			said int
		)
		o.Say = func(string, ...any) {
			mu.Lock()
			defer mu.Unlock()
			if said == step {
				cancel()
			}
			said++
		}
		if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at step %d: %v", step, err)
		}
		cancel()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestServerDiesWithItsParent kills the parent in a way that it cannot notice.
func TestServerDiesWithItsParent(t *testing.T) {
	parent := exec.Command("/proc/self/exe", asParent)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	server, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()

	// A pidfd becomes readable when its process ends.
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}, 5000)
	if n != 1 || err != nil {
		t.Errorf("the server outlived its parent: %d, %v", n, err)
	}
}

func TestServerThatCannotStart(t *testing.T) {
	o := options(t, blind)
	o.Server = []string{"/nonexistent"}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "start the demo's server") {
		t.Errorf("no such file: %v", err)
	}
	o.Server = []string{"/proc/self/exe", "-test.run=^$"}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "ended before it listened") {
		t.Errorf("not a server: %v", err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
