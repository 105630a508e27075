//go:build kernel

package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// What a live run of the programs in the kernel printed, its recording prints
// again, to the byte.
func TestReplayOfARealRunIsEqualToIt(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, done := context.WithCancel(t.Context())
	traffic := make(chan error, 1)
	go func() { traffic <- keepBusy(ctx, l) }()

	path := filepath.Join(t.TempDir(), "run.trace")
	var live, logs bytes.Buffer
	a := &app{
		Stdio: Stdio{Out: &live, Err: &logs}, log: zerolog.New(&logs), openSource: openProbe, env: hostEnvironment(),
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	code := a.run(t.Context(), []string{"trace", "-o", "json", "-p", port, "--duration", "12s", "--stall-after", "200ms", "-w", path})
	done()
	if err := <-traffic; err != nil {
		t.Error(err)
	}
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, logs.String())
	}
	for _, want := range []string{`"event":"accepted"`, `"event":"close_wait"`, `"event":"stall"`, `"type":"summary"`} {
		if !strings.Contains(live.String(), want) {
			t.Errorf("no %s in:\n%s", want, live.String())
		}
	}
	past, said, code := replayed(t, "trace", "-r", path, "-o", "json")
	// What the host would not tell is told again, too.
	if code != exitDone || !strings.HasSuffix(logs.String(), said) {
		t.Errorf("exit code %d: %s\nlive: %s", code, said, logs.String())
	}
	if past != live.String() {
		t.Errorf("live:\n%s\nreplayed:\n%s", live.String(), past)
	}
}

// keepBusy lets connections wait for a while before it accepts them; of some,
// the client has hung up by then.
func keepBusy(ctx context.Context, l net.Listener) error {
	for ctx.Err() == nil {
		for i := range 4 {
			c, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				return err
			}
			if i == 0 {
				c.Close()
			} else {
				defer c.Close()
			}
		}
		time.Sleep(500 * time.Millisecond)
		for range 4 {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			c.Close()
		}
	}
	return nil
}
