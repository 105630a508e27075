package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"acceptwatch/internal/vm/elfdeps"
	"acceptwatch/internal/vm/initrd"
	"acceptwatch/internal/vm/qemu"
	"acceptwatch/internal/vm/wire"
)

// The test binary stands in for the emulator: it speaks the guest's side of the
// protocol, by the script in this variable, one word a try.
const (
	scriptVariable = "ACCEPTWATCH_TEST_GUEST"
	triesVariable  = "ACCEPTWATCH_TEST_TRIES" // a file that counts
)

func TestMain(m *testing.M) {
	if script := os.Getenv(scriptVariable); script != "" {
		standIn(strings.Fields(script))
		return
	}
	os.Exit(m.Run())
}

// standIn is one boot.
func standIn(script []string) {
	counter := os.Getenv(triesVariable)
	text, _ := os.ReadFile(counter) // there is none yet
	try, _ := strconv.Atoi(string(text))
	if err := os.WriteFile(counter, []byte(strconv.Itoa(try+1)), 0o644); err != nil {
		panic(err)
	}
	fmt.Println("boot", try+1)
	channel := os.NewFile(3, "channel")
	host, frames := wire.NewWriter(channel), wire.NewReader(channel)
	step := script[min(try, len(script)-1)]
	switch step {
	case "hang":
		time.Sleep(time.Hour)
	case "die":
		return
	case "chatter":
		for range 50 {
			fmt.Println("still booting")
			time.Sleep(100 * time.Millisecond)
		}
	case "fail":
		_ = host.Write(wire.Failure, []byte("no virtio port"))
		return
	}
	_ = host.WriteJSON(wire.Ready, wire.Hello{Release: "6.6.6"})
	if _, err := frames.Next(); err != nil {
		panic(err)
	}
	switch step {
	case "crash":
		_ = host.Write(wire.Stdout, []byte("started"))
		fmt.Println("Kernel panic")
		return
	case "slow":
		for {
			if f, err := frames.Next(); err != nil || f.Kind == wire.Signal {
				_ = host.Write(wire.Stderr, fmt.Appendf(nil, "signal %d", f.Payload))
				break
			}
		}
	case "deaf":
		time.Sleep(time.Hour)
	case "echo":
		for {
			f, err := frames.Next()
			if err != nil || f.Kind == wire.StdinEnd {
				break
			}
			_ = host.Write(wire.Stdout, f.Payload)
		}
		_ = host.WriteJSON(wire.File, wire.FileInfo{Path: "/tmp/empty"})
		_ = host.Write(wire.FileEnd, nil)
		_ = host.WriteJSON(wire.File, wire.FileInfo{Path: "/tmp/x"})
		_ = host.Write(wire.FileData, []byte("content "))
		_ = host.Write(wire.FileData, []byte("of x"))
		_ = host.Write(wire.FileEnd, nil)
	}
	code, _ := strconv.Atoi(step)
	_ = host.WriteJSON(wire.Exit, wire.Status{Code: code})
	time.Sleep(time.Hour) // the host ends it
}

// boot runs r with the stand-in, by a script; it returns how many boots there
// were.
func boot(t *testing.T, ctx context.Context, r *Run, script string, limit time.Duration) (*Result, int, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	arch := qemu.Arches["amd64"]
	arch.Binary = filepath.Join(dir, "emulator")
	counter := filepath.Join(dir, "tries")
	text := fmt.Sprintf("#!/bin/sh\n%s='%s' %s='%s' exec '%s'\n", scriptVariable, script, triesVariable, counter, self)
	if err := os.WriteFile(arch.Binary, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	result, err := r.boot(ctx, limit, func(ctx context.Context) (*qemu.Machine, error) {
		return qemu.Start(ctx, qemu.Config{Arch: arch}, nil)
	})
	count, readErr := os.ReadFile(counter)
	if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
		t.Fatal(readErr)
	}
	tries, _ := strconv.Atoi(string(count))
	return result, tries, err
}

func TestBootIsTriedAgainButNeverACommand(t *testing.T) {
	// A busy host needs a moment to start even a stand-in.
	const short, long = 3 * time.Second, time.Minute
	tests := []struct {
		name, script string
		limit        time.Duration
		tries, code  int
		err          any
	}{
		{"exit 0", "0", long, 1, 0, nil},
		{"exit 7", "7", long, 1, 7, new(*ExitError)},
		{"the first boot dies", "die 0", long, 2, 0, nil},
		{"the first boot hangs", "hang 0", short, 2, 0, nil},
		{"a slow boot goes on", "chatter", short, 1, 0, nil},
		{"two boots fail", "die fail 7", long, 3, 7, new(*ExitError)},
		{"every boot fails", "fail", long, maxTries, 0, new(*BootError)},
		{"every boot hangs", "hang", short, maxTries, 0, new(*BootError)},
		{"the machine ends under the command", "crash 0", long, 1, 0, new(*CrashError)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			result, tries, err := boot(t, t.Context(), &Run{Argv: []string{"x"}}, test.script, test.limit)
			if tries != test.tries {
				t.Errorf("%d boots, want %d", tries, test.tries)
			}
			if test.err == nil && err != nil || test.err != nil && !errors.As(err, test.err) {
				t.Errorf("error %v, want a %T", err, test.err)
			}
			if result != nil && (result.ExitCode != test.code || result.Release != "6.6.6" || len(result.FailedBoots) != tries-1) {
				t.Errorf("result %+v, want exit code %d", result, test.code)
			}
		})
	}
}

func TestErrorsShowTheConsole(t *testing.T) {
	_, _, err := boot(t, t.Context(), &Run{Argv: []string{"x"}}, "fail", time.Minute)
	if err == nil || !strings.Contains(err.Error(), "no virtio port") || !strings.Contains(err.Error(), "| boot 3") {
		t.Errorf("boot: %v", err)
	}
	var out bytes.Buffer
	_, _, err = boot(t, t.Context(), &Run{Argv: []string{"x"}, Stdout: &out}, "crash", time.Minute)
	if err == nil || !strings.Contains(err.Error(), "Kernel panic") || out.String() != "started" {
		t.Errorf("crash: %v; output %q", err, out.String())
	}
}

func TestInputOutputAndFilesPass(t *testing.T) {
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var out bytes.Buffer
	r := &Run{Argv: []string{"x"}, Stdin: bytes.NewReader(input), Stdout: &out}
	result, _, err := boot(t, t.Context(), r, "echo", time.Minute)
	if err != nil || !bytes.Equal(out.Bytes(), input) {
		t.Fatalf("%v; %d of %d bytes came back", err, out.Len(), len(input))
	}
	if string(result.Files["/tmp/x"]) != "content of x" || result.Files["/tmp/empty"] == nil {
		t.Errorf("files %q", result.Files)
	}
}

func TestTimeoutQuitsThenKills(t *testing.T) {
	var late *TimeoutError
	var stderr bytes.Buffer
	r := &Run{Argv: []string{"x"}, Timeout: 100 * time.Millisecond, Stderr: &stderr}
	_, tries, err := boot(t, t.Context(), r, "slow", time.Minute)
	if !errors.As(err, &late) || tries != 1 || stderr.String() != fmt.Sprintf("signal [%d]", syscall.SIGQUIT) {
		t.Errorf("%v after %d boots; stderr %q", err, tries, stderr.String())
	}
	begin := time.Now()
	_, _, err = boot(t, t.Context(), r, "deaf", time.Minute)
	if took := time.Since(begin); !errors.As(err, &late) || took < quitGrace || took > 4*quitGrace {
		t.Errorf("%v after %v", err, took)
	}
}

func TestCancelEndsAtOnce(t *testing.T) {
	for _, script := range []string{"hang", "deaf"} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		begin := time.Now()
		_, tries, err := boot(t, ctx, &Run{Argv: []string{"x"}}, script, time.Minute)
		if !errors.Is(err, context.Canceled) || tries > 1 || time.Since(begin) > 30*time.Second {
			t.Errorf("%s: %v after %d boots and %v", script, err, tries, time.Since(begin))
		}
	}
}

func TestKernelsAreSelectedByName(t *testing.T) {
	for names, want := range map[string]string{
		"": "5.10 6.1 6.12 7.x", "all": "5.10 6.1 6.12 7.x", "7.x": "7.x", "7": "7.x", "6.12 5.10": "6.12 5.10",
		"arm64-6.1": "arm64-6.1", "arm64-7.x 6.1": "arm64-7.x 6.1", "all arm64-6.1": "5.10 6.1 6.12 7.x arm64-6.1",
	} {
		specs, err := Select(strings.Fields(names)...)
		var got []string
		for _, s := range specs {
			got = append(got, s.Name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v; want %s", names, got, err, want)
		}
	}
	var unknown *UnknownKernelError
	if _, err := Select("6.1", "4.19"); !errors.As(err, &unknown) || unknown.Name != "4.19" {
		t.Errorf("4.19: %v", err)
	}
}

func TestProgramsOfAnotherArchitectureAreRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for arch := range qemu.Arches {
		run := &Run{Kernel: Kernel{Arch: arch}, Files: []File{{Host: self, Guest: "/bin/x", Libraries: true}}}
		err := run.addFiles(initrd.New())
		var wrong *elfdeps.WrongMachineError
		if refused := errors.As(err, &wrong); refused != (arch != runtime.GOARCH) || !refused && err != nil {
			t.Errorf("a program for %s in a kernel for %s: %v", runtime.GOARCH, arch, err)
		}
	}
}

func TestBundleSaysWhatToInstall(t *testing.T) {
	var missing *MissingProgramError
	t.Setenv("PATH", t.TempDir())
	if _, err := Bundle(t.Context(), "no-such-program"); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
	if err := (&MissingProgramError{"nc", debianPackages["nc"]}); !strings.Contains(err.Error(), "netcat-openbsd") {
		t.Errorf("got %v", err)
	}
}

func TestRunWithoutACommandIsRefused(t *testing.T) {
	if _, err := (&Run{Stdout: io.Discard}).Do(t.Context()); err == nil {
		t.Error("no error")
	}
}
