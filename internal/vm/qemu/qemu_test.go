package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCommandLine(t *testing.T) {
	base := Config{
		Arch: Arches["amd64"], Image: "/k/vmlinuz", Initrd: "/tmp/initrd", CPUs: 2, MemoryMiB: 1024, PortName: "port",
	}
	tests := []struct {
		name          string
		config        func(*Config)
		has, hasNot   string // in the arguments, joined by blanks
		kernel, noArg string // in the kernel's
	}{
		{"plain", func(*Config) {}, "-machine q35 -cpu max -accel tcg,thread=single -smp 2 -m 1024 -kernel /k/vmlinuz -initrd /tmp/initrd", "icount", "rdinit=/init console=ttyS0 panic=-1 oops=panic", "nokaslr"},
		{"channel", func(*Config) {}, "-chardev socket,id=channel,fd=3 -device virtio-serial-pci -device virtserialport,chardev=channel,name=port", "virtio-blk", "no_timer_check", "lockdown"},
		{"icount", func(c *Config) { c.ICount = true }, "-icount shift=0,sleep=off -smp 1", "-smp 2", "nokaslr", "init=/x"},
		{"disk", func(c *Config) { c.Disk.Image = "/d" }, "-drive file=/d,if=none,id=disk,format=raw -device virtio-blk-pci,drive=disk", "throttling", "rdinit=/init", "vda"},
		{"slow disk", func(c *Config) { c.Disk = Disk{"/d", 50} }, "format=raw,throttling.iops-total=50 -device virtio-blk-pci", "if=virtio", "rdinit=/init", "vda"},
		{"append", func(c *Config) { c.Append = "lockdown=integrity  quiet" }, "-no-reboot", "lockdown=integrity  quiet", "lockdown=integrity quiet", "nokaslr"},
		{"counter", func(c *Config) { c.tsc = 2596100 }, "-smp 2", "icount", "tsc=reliable tsc_early_khz=2596100", "nokaslr"},
		{"counter of instructions", func(c *Config) { c.tsc, c.ICount = 2596100, true }, "-smp 1", "kvm", "tsc=reliable", "tsc_early_khz"},
		{"arm64 counter", func(c *Config) { c.Arch, c.tsc = Arches["arm64"], 2596100 }, "-machine virt", "q35", "console=ttyAMA0", "tsc"},
		{"arm64", func(c *Config) { c.Arch = Arches["arm64"] }, "-machine virt,gic-version=max -cpu max,pauth-impdef=on -accel", "q35", "console=ttyAMA0", "no_timer_check"},
	}
	for _, test := range tests {
		c := base
		test.config(&c)
		args := c.arguments()
		line, kernel := strings.Join(args, " "), args[len(args)-1]
		if args[len(args)-2] != "-append" {
			t.Errorf("%s: the kernel's arguments are not last: %s", test.name, line)
		}
		if !strings.Contains(line, test.has) || strings.Contains(line, test.hasNot) {
			t.Errorf("%s: %s\nwant %q in it, %q not", test.name, line, test.has, test.hasNot)
		}
		if !strings.Contains(kernel, test.kernel) || strings.Contains(kernel, test.noArg) {
			t.Errorf("%s: kernel arguments %s\nwant %q in it, %q not", test.name, kernel, test.kernel, test.noArg)
		}
	}
}

func TestConsoleKeepsTheLastLines(t *testing.T) {
	var echo bytes.Buffer
	c := &Console{echo: &echo}
	for i := range consoleLines + 50 {
		fmt.Fprintf(c, "line %d\r", i)
		fmt.Fprint(c, "\n")
	}
	fmt.Fprint(c, "no end")
	lines := strings.Split(c.String(), "\n")
	if lines[0] != "line 50" || lines[consoleLines-1] != fmt.Sprintf("line %d", consoleLines+49) || lines[consoleLines] != "no end" {
		t.Errorf("kept %q to %q, then %q", lines[0], lines[consoleLines-1], lines[consoleLines])
	}
	if !strings.HasPrefix(echo.String(), "line 0\r\nline 1\r\n") {
		t.Error("the echo is not what was written")
	}
	long := &Console{}
	fmt.Fprint(long, strings.Repeat("x", 3*maxLine), "\nnext\n")
	if got := long.String(); len(got) != maxLine+len("\nnext\n") {
		t.Errorf("a line of %d bytes takes %d", 3*maxLine, len(got))
	}
}

// script writes a program that stands in for the emulator.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "emulator")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMachineTalksOverItsChannel(t *testing.T) {
	m, err := start(t.Context(), script(t, "echo on the console; echo over the channel >&3; exit 3\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	text, err := io.ReadAll(m.Channel)
	if string(text) != "over the channel\n" || err != nil {
		t.Errorf("the channel has %q, %v", text, err)
	}
	if m.Err() == nil {
		t.Error("exit code 3 is no error")
	}
	if m.Console.String() != "on the console\n" {
		t.Errorf("the console has %q", m.Console)
	}
}

func TestASignalIsAFailureUnlessItIsOurs(t *testing.T) {
	m, err := start(t.Context(), script(t, "kill -SEGV $$\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.AwaitEnd(time.Minute)
	m.Stop()
	if err := m.Err(); err == nil || !strings.Contains(err.Error(), "segmentation") {
		t.Errorf("got %v, want the signal", err)
	}
	m, err = start(t.Context(), script(t, "exec sleep 1000\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.AwaitEnd(time.Millisecond)
	m.Stop()
	if err := m.Err(); err != nil {
		t.Errorf("stopped by us: %v", err)
	}
}

func TestNothingIsLeftAfterTheEnd(t *testing.T) {
	ends := map[string]func(*Machine, context.CancelFunc){
		"stop":   func(m *Machine, _ context.CancelFunc) { m.Stop() },
		"cancel": func(m *Machine, cancel context.CancelFunc) { cancel(); <-m.ended },
	}
	for name, end := range ends {
		ctx, cancel := context.WithCancel(t.Context())
		m, err := start(ctx, script(t, "echo $$; exec sleep 1000\n"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		for deadline := time.Now().Add(10 * time.Second); pid == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			_, _ = fmt.Sscan(m.Console.String(), &pid)
		}
		if pid == 0 {
			t.Fatalf("%s: the stand-in did not start", name)
		}
		end(m, cancel)
		cancel()
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("%s: the emulator still runs: %v", name, err)
		}
		if err := m.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m.Stop()
	}
}

func TestMissingEmulatorNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Config{Arch: Arches["amd64"]}, nil)
	if err == nil || !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("got %v, want the package to install", err)
	}
}
