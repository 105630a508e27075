//go:build vm

package vm_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/vm"
)

// run runs a shell script in a kernel.
func run(t *testing.T, r vm.Run, script string) (*vm.Result, string, string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	r.Argv = []string{"sh", "-c", script}
	r.Binaries = append(r.Binaries, "sh")
	r.Stdout, r.Stderr = &stdout, &stderr
	result, err := r.Do(t.Context())
	return result, stdout.String(), stderr.String(), err
}

// kernels are all of the matrix; a kernel that cannot be had is a failure.
func kernels(t *testing.T) []vm.Kernel {
	t.Helper()
	kernels, err := vm.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return kernels
}

func TestEveryKernelHasTheDisk(t *testing.T) {
	bundle, err := vm.Bundle(t.Context(), "dd", "grep")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			_, stdout, stderr, err := run(t, vm.Run{Kernel: k, Files: bundle, Disk: vm.Disk{MiB: 64, IOPS: 100}},
				"grep /mnt/disk /proc/mounts && dd if=/dev/zero of=/mnt/disk/x bs=1M count=32 conv=fsync 2>&1")
			if err != nil || !strings.HasPrefix(stdout, "/dev/vda /mnt/disk ext4 rw") {
				t.Errorf("%v: %s%s", err, stdout, stderr)
			}
		})
	}
}

func TestEveryKernelRunsACommand(t *testing.T) {
	const script = `
read a b release rest < /proc/version
echo "$release"; echo to stderr >&2
read line; echo "in: $line"; echo "env: $X"; pwd
cat /brought/file
for m in /proc /sys /dev /dev/pts /dev/shm /tmp /run /sys/fs/cgroup /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf /sys/kernel/security; do
	grep -q " $m " /proc/mounts || echo "not mounted: $m"
done
ulimit -n
ss -tlnH || echo "no socket diagnostics"
ip -br link show up
echo 'one file' > /tmp/one; mkdir /tmp/more; echo 'a second' > /tmp/more/two
( sleep 0.1; : ) & exit 7`
	bundle, err := vm.Bundle(t.Context(), "cat", "grep", "mkdir", "ss", "ip", "sleep")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			result, stdout, stderr, err := run(t, vm.Run{
				Kernel: k, Env: []string{"X=a value"}, Dir: "/work", Stdin: strings.NewReader("hello\n"),
				Files: append(slices.Clone(bundle), vm.File{Guest: "/brought/file", Data: []byte("brought\n"), Mode: 0o644}),
				Fetch: []string{"/tmp/on?", "/tmp/more", "/gone/*"},
			}, script)
			var exit *vm.ExitError
			if !errors.As(err, &exit) || exit.Code != 7 || result.ExitCode != 7 {
				t.Fatalf("%v, want exit code 7", err)
			}
			want := fmt.Sprintf("%s\nin: hello\nenv: a value\n/work\nbrought\n65536\nlo ", k.Release)
			if !strings.HasPrefix(stdout, want) {
				t.Errorf("stdout:\n%s\nwant\n%s", stdout, want)
			}
			if stderr != "to stderr\n" {
				t.Errorf("stderr: %q", stderr)
			}
			files := map[string]string{"/tmp/one": "one file\n", "/tmp/more/two": "a second\n"}
			for name, content := range files {
				if string(result.Files[name]) != content {
					t.Errorf("%s: %q, want %q", name, result.Files[name], content)
				}
			}
			if len(result.Files) != len(files) || result.Release != k.Release {
				t.Errorf("%d files of %s", len(result.Files), result.Release)
			}
			t.Logf("boot %.1f s, command %.1f s, failed boots: %v", result.Boot.Seconds(), result.Elapsed.Seconds(), result.FailedBoots)
		})
	}
}

// The source of a program that says what it runs on.
const program = `package main

import ("fmt"; "io"; "os"; "runtime")

func main() {
	version, err := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Print(runtime.GOARCH, " ", string(version))
	io.Copy(os.Stdout, os.Stdin)
	if err != nil { os.Exit(1) }
	os.Exit(7)
}
`

func TestForeignKernelsRunAProgramOfTheirs(t *testing.T) {
	for _, spec := range vm.Foreign() {
		t.Run(spec.Name, func(t *testing.T) {
			kernels, err := vm.Find(t.Context(), spec.Name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
			if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
				t.Fatal(err)
			}
			compile := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
			compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+spec.Arch)
			if out, err := compile.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var stdout bytes.Buffer
			result, err := (&vm.Run{
				Kernel: kernels[0], Argv: []string{"program"}, Stdin: strings.NewReader("from the host\n"), Stdout: &stdout,
				Files: []vm.File{{Host: binary, Guest: "/bin/program", Libraries: true}},
			}).Do(t.Context())
			var exit *vm.ExitError
			if !errors.As(err, &exit) || exit.Code != 7 {
				t.Fatalf("%v, want exit code 7", err)
			}
			if want := fmt.Sprintf("%s %s\nfrom the host\n", spec.Arch, kernels[0].Release); stdout.String() != want {
				t.Errorf("%q, want %q", stdout.String(), want)
			}
			t.Logf("boot %.1f s, command %.1f s, failed boots: %v", result.Boot.Seconds(), result.Elapsed.Seconds(), result.FailedBoots)
		})
	}
}

func TestBulkPassesUnharmed(t *testing.T) {
	data := make([]byte, 10<<20)
	state := uint32(1)
	for i := range data {
		state = state*1664525 + 1013904223
		data[i] = byte(state >> 24)
	}
	host := filepath.Join(t.TempDir(), "bulk")
	if err := os.WriteFile(host, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			result, stdout, _, err := run(t, vm.Run{
				Kernel: k, Files: []vm.File{{Host: host, Guest: "/bulk"}}, Binaries: []string{"cat"},
				Stdin: bytes.NewReader(data), Fetch: []string{"/tmp/in"},
			}, "cat /bulk; cat > /tmp/in")
			if err != nil {
				t.Fatal(err)
			}
			want := sha256.Sum256(data)
			if sha256.Sum256([]byte(stdout)) != want {
				t.Errorf("stdout: %d bytes that differ from the %d", len(stdout), len(data))
			}
			if got := result.Files["/tmp/in"]; sha256.Sum256(got) != want {
				t.Errorf("stdin and file: %d bytes that differ from the %d", len(got), len(data))
			}
			t.Logf("3 times %d MiB in %.1f s", len(data)>>20, result.Elapsed.Seconds())
		})
	}
}

func TestEndsOfTheGuestAreTold(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			t.Run("panic", func(t *testing.T) {
				var crash *vm.CrashError
				_, stdout, _, err := run(t, vm.Run{Kernel: k}, "echo before; echo c > /proc/sysrq-trigger; echo after")
				if !errors.As(err, &crash) || !strings.Contains(crash.Console, "sysrq triggered crash") && !strings.Contains(crash.Console, "Kernel panic") {
					t.Errorf("%v, want a crash with the console", err)
				}
				if strings.Contains(stdout, "after") {
					t.Errorf("stdout: %q", stdout)
				}
			})
			t.Run("timeout", func(t *testing.T) {
				var late *vm.TimeoutError
				result, _, _, err := run(t, vm.Run{Kernel: k, Timeout: time.Second, Binaries: []string{"sleep"}}, "trap '' QUIT; sleep 1000")
				if !errors.As(err, &late) || result.Elapsed > 20*time.Second {
					t.Errorf("%v: %+v, want a timeout", err, result)
				}
			})
			t.Run("signal", func(t *testing.T) {
				result, _, _, _ := run(t, vm.Run{Kernel: k}, "kill -9 $$")
				if result == nil || result.ExitCode != 137 {
					t.Errorf("%+v, want exit code 137", result)
				}
			})
			t.Run("unknown command", func(t *testing.T) {
				result, err := (&vm.Run{Kernel: k, Argv: []string{"no-such-command"}}).Do(t.Context())
				if result == nil || result.ExitCode != 127 {
					t.Errorf("%+v, %v, want exit code 127", result, err)
				}
			})
		})
	}
}

// A kernel that finds no init panics, each time.
func TestBootWithoutInitIsGivenUp(t *testing.T) {
	k := kernels(t)[0]
	var failed *vm.BootError
	_, _, _, err := run(t, vm.Run{Kernel: k, Append: "rdinit=/gone init=/gone"}, "echo never")
	if !errors.As(err, &failed) || failed.Tries != 3 || !strings.Contains(failed.Console, "Kernel panic") {
		t.Errorf("%v, want three boots and the console", err)
	}
}

func TestKernelsRunWithCountedInstructions(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			result, stdout, _, err := run(t, vm.Run{Kernel: k, ICount: true}, "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; echo $i")
			if err != nil || stdout != "1000\n" {
				t.Errorf("%q, %v", stdout, err)
			}
			if result != nil {
				t.Logf("boot %.1f s", result.Boot.Seconds())
			}
		})
	}
}

// Signed modules load in a locked-down kernel, so the channel works there, too.
func TestLockedDownKernelsRun(t *testing.T) {
	for _, k := range kernels(t) {
		_, stdout, _, err := run(t, vm.Run{Kernel: k, Append: "lockdown=confidentiality", Binaries: []string{"cat"}}, "cat /sys/kernel/security/lockdown")
		if err != nil || !strings.Contains(stdout, "[confidentiality]") {
			t.Errorf("%s: %q, %v", k.Name, stdout, err)
		}
	}
}

func TestPythonRunsInTheGuest(t *testing.T) {
	files, err := vm.Bundle(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	k := kernels(t)[0]
	_, stdout, stderr, err := run(t, vm.Run{Kernel: k, Files: files},
		`python3 -c 'import asyncio, json, socket, ssl, subprocess, threading; print(socket.create_server(("127.0.0.1", 0)).getsockname()[0])'`)
	if err != nil || stdout != "127.0.0.1\n" {
		t.Errorf("%q, %v, %s", stdout, err, stderr)
	}
}
