//go:build kernel

package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// What becomes of the program in the service that its manifests make.

// The fence leaves what stacks need: their programs are loaded when a stall begins.
func TestFencedTraceNamesFunctionsOfAStalledServer(t *testing.T) {
	unlockMemory(t)
	everyMode(t, func(t *testing.T, mode string) {
		server := startCommand(t, as(exec.Command("python3", "-I", "testdata/computes.py"), somebody, 0))
		at := strings.TrimPrefix(server.awaitLine("listening "), "listening ")
		caps := capability.Bits(capability.Watching())
		tr := trace{startCommand(t, as(acceptwatch(t, "trace", "--mode", mode, "--port", portOf(t, at), "--diagnose"), nobody, caps))}
		tr.awaitLine("TIME ")
		await(t, "the fence", func() bool { return status(t, tr.pid(), "Seccomp") == "2" })
		dial(t, at)
		// Python's is stripped: what it is in may be a function or a place in the file.
		if line := tr.awaitLine("on the CPU in "); !strings.Contains(line, "_Py") && !strings.Contains(line, "/python3") {
			t.Errorf("the stack is %q, want something of Python in it", line)
		}
		tr.stop()
		if len(tr.stderr()) > 0 {
			t.Errorf("warned of: %q", tr.stderr())
		}
	})
}

// ProtectKernelTunables= of the unit hides addresses of kernel functions, and has
// /sys and /proc/sys for reading only.
func TestHiddenKernelAddressesAreNotMissed(t *testing.T) {
	unlockMemory(t)
	hidden := t.TempDir() + "/nothing"
	check(t, os.WriteFile(hidden, nil, 0))
	protect := func() error {
		for _, m := range []struct {
			source, target string
			flags          uintptr
		}{
			{"", "/", unix.MS_REC | unix.MS_PRIVATE},
			{hidden, "/proc/kallsyms", unix.MS_BIND},
			{"/proc/sys", "/proc/sys", unix.MS_BIND},
			{"", "/proc/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
			{"/sys", "/sys", unix.MS_BIND | unix.MS_REC},
			{"", "/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
			{"", "/sys/kernel/tracing", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
		} {
			if err := unix.Mount(m.source, m.target, "", m.flags, ""); err != nil {
				return fmt.Errorf("mount %s: %w", m.target, err)
			}
		}
		return nil
	}
	everyMode(t, func(t *testing.T, mode string) {
		s := startServers(t)
		first := connect(t, "127.0.1.1", s.at)
		first.awaitServed(s.at)
		var tr trace
		inside(t, unix.CLONE_NEWNS, protect, func() {
			tr = trace{startCommand(t, as(acceptwatch(t, "trace", "--mode", mode, "-o", "json", "--port", portOf(t, s.at)), nobody, capability.Bits(capability.Watching())))}
		})
		tr.await("the listeners", func() bool { return len(tr.lines()) > 0 })
		second := connect(t, "127.0.1.2", s.at)
		second.interrupt(s.at)
		wantOneCloseWait(t, tr, s.at, second)
		tr.stop()
		if said := strings.Join(tr.stderr(), "\n"); strings.Contains(said, "cannot") && mode == "fentry" {
			t.Errorf("said was %s", said)
		}
	})
}
