//go:build kernel

package kerneltest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// What works here, and with these privileges.

func TestDemo(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		p := startCommand(t, acceptwatch(t, "demo", "--mode", mode, "-o", "json"))
		p.wantExit(0)
		lines := p.lines()
		var end struct {
			Type, Mode  string
			Queued      int
			Found       int `json:"found_dead"`
			Differences []string
		}
		check(t, json.Unmarshal([]byte(lines[len(lines)-1]), &end))
		if end.Type != "demo" || end.Mode != mode || len(end.Differences) > 0 || end.Queued == 0 || end.Found == 0 {
			t.Errorf("the demo's end is %s; want it in mode %s, without differences", lines[len(lines)-1], mode)
		}
	})
}

func TestDemoInWords(t *testing.T) {
	p := startCommand(t, acceptwatch(t, "demo"))
	p.wantExit(0)
	for _, want := range []string{"What happened:", "(mode " + expectedMode(t) + ")", "What to do"} {
		if !strings.Contains(strings.Join(p.lines(), "\n"), want) {
			t.Errorf("want %q in\n%s", want, p.everything())
		}
	}
}

func TestBestModeIsChosen(t *testing.T) {
	p := startCommand(t, acceptwatch(t, "trace", "--duration", "1s", "-o", "json"))
	p.wantExit(0)
	if s := (trace{p}).summary(); s.Mode != expectedMode(t) {
		t.Errorf("summary %s; want mode %s", describe(s), expectedMode(t))
	}
}

func TestLockdownRefusesKprobes(t *testing.T) {
	p := startCommand(t, acceptwatch(t, "trace", "--mode", "kprobe", "--duration", "1ms"))
	if !lockedDown(t) {
		p.wantExit(0)
		return
	}
	p.wantExit(3)
	wantOneSentence(t, p, "kprobe")
}

// lockedDown says whether this kernel was booted to be.
func lockedDown(t *testing.T) bool {
	t.Helper()
	arguments, err := os.ReadFile("/proc/cmdline")
	check(t, err)
	if !strings.Contains(string(arguments), "lockdown=confidentiality") {
		return false
	}
	state, err := os.ReadFile("/sys/kernel/security/lockdown")
	check(t, err)
	if !strings.Contains(string(state), "[confidentiality]") {
		t.Fatalf("asked for a lockdown, got %q", state)
	}
	return true
}

func TestDoctor(t *testing.T) {
	text := startCommand(t, acceptwatch(t, "doctor"))
	text.wantExit(0)
	text.awaitLine("mode:      " + expectedMode(t) + " (")
	if len(text.stderr()) > 0 {
		t.Errorf("stderr %q", text.stderr())
	}

	p := startCommand(t, acceptwatch(t, "doctor", "-o", "json"))
	p.wantExit(0)
	for i, line := range p.lines() {
		var finding struct{ Type, ID, Status, Mode string }
		check(t, json.Unmarshal([]byte(line), &finding))
		switch last := i == len(p.lines())-1; {
		case last && (finding.Type != "summary" || finding.Mode != expectedMode(t)):
			t.Errorf("the last line is %s; want a summary with mode %s", line, expectedMode(t))
		case !last && (finding.Type != "finding" || finding.ID == "" || finding.Status == ""):
			t.Errorf("line %s; want a finding", line)
		}
	}
	t.Log(text.everything())
}

func TestUnprivileged(t *testing.T) {
	for _, command := range []string{"trace", "demo"} {
		t.Run(command, func(t *testing.T) {
			p := startCommand(t, asNobody(acceptwatch(t, command)))
			p.wantExit(3)
			wantOneSentence(t, p, "sudo")
			if len(p.lines()) > 0 {
				t.Errorf("stdout %q; want nothing", p.lines())
			}
			t.Log(p.stderr())
		})
	}
}

func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

// wantOneSentence checks that a person is told in one line, with a word of it.
func wantOneSentence(t *testing.T, p *process, word string) {
	t.Helper()
	errs := p.stderr()
	if len(errs) != 1 || !strings.HasPrefix(errs[0], "acceptwatch: ") || !strings.Contains(errs[0], word) {
		t.Errorf("stderr %q; want one sentence with %q", errs, word)
	}
}
