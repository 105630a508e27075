package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// served is what serve says, and its exit code, with a source that is opened like
// this. It is ended when end is closed.
func served(t *testing.T, end <-chan struct{}, open openSource) (logs string, code int) {
	t.Helper()
	var out strings.Builder
	a := fakeApp(newFakeKernel(), nil)
	a.Out, a.Err, a.log, a.openSource = &out, &out, zerolog.New(&out), open
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-end
		cancel()
	}()
	code = a.run(ctx, []string{"serve", "--listen", "127.0.0.1:0"})
	return out.String(), code
}

// It can be ended while it is attaching.
func TestServeEnds(t *testing.T) {
	attaching := make(chan struct{})
	logs, code := served(t, attaching, func(ctx context.Context, _ sourceOptions) (source, error) {
		close(attaching)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if code != exitDone {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

// Who reads that it serves believes that it does.
func TestServeThatIsNotPermittedDoesNotSayThatItServes(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	logs, code := served(t, end, func(context.Context, sourceOptions) (source, error) {
		return nil, unavailable(errors.New("eBPF is not permitted"), "run it as root")
	})
	if code != exitUnavailable || strings.Contains(logs, "serving") || !strings.Contains(logs, "run it as root") {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

func TestServeNeedsItsAddress(t *testing.T) {
	k := newFakeKernel()
	s := serve(t, opens(k), k)
	var out strings.Builder
	a := fakeApp(newFakeKernel(), nil)
	a.Out, a.Err = &out, &out
	taken := strings.TrimPrefix(s.url, "http://")
	if code := a.run(t.Context(), []string{"serve", "--listen", "127.0.0.1:0", "--listen", taken}); code != exitError ||
		!strings.Contains(out.String(), "serve metrics at "+taken) || !strings.Contains(out.String(), "choose another address by --listen") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

func TestServeNamesTheCapabilityOfLowPorts(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	if first := strings.TrimSpace(string(text)); first == "0" || first == "1" {
		t.Skip("everybody may use port 1 here")
	}
	cmd := self("serve", "--listen", "127.0.0.1:1")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != exitUnavailable || !strings.Contains(string(out), "take CAP_NET_BIND_SERVICE") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestServeSaysWhyItMayNotListen(t *testing.T) {
	for _, test := range []struct {
		at   string
		err  error
		code int
		want string
	}{
		{"127.0.0.1:80", unix.EACCES, exitUnavailable, "as others take CAP_NET_BIND_SERVICE"},
		{":http", unix.EACCES, exitUnavailable, "as others take CAP_NET_BIND_SERVICE"},
		{"127.0.0.1:9716", unix.EACCES, exitUnavailable, "a security module (SELinux, AppArmor) may refuse that port"},
		{"[::1]:1024", unix.EACCES, exitUnavailable, "a security module (SELinux, AppArmor) may refuse that port"},
		{"127.0.0.1:80", unix.EADDRINUSE, exitError, "choose another address by --listen"},
	} {
		err := listenError(test.at, os.NewSyscallError("bind", test.err))
		if exitCode(err) != test.code || !strings.HasPrefix(err.Error(), "serve metrics at "+test.at+": ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %v: exit code %d: %v", test.at, test.err, exitCode(err), err)
		}
	}
}
