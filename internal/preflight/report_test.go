package preflight

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func yes() Trial { return trial(nil, true) }

func refused(privileged bool) Trial {
	return trial(fmt.Errorf("load: load program: %w", syscall.EPERM), privileged)
}

func lacking(what string) Trial {
	return trial(fmt.Errorf("%s: %w", what, ebpf.ErrNotSupported), true)
}

// modern is a privileged 6.12 where everything works; each host below says
// how it differs.
func modern() Host {
	f := &Features{
		Release: "6.12.48+deb13-cloud-amd64", Arch: "amd64", Major: 6, Minor: 12,
		BTF: yes(), Fentry: yes(), Kprobe: yes(), TpBTF: yes(), IterTCP: yes(), RingBuf: yes(),
		ProbeRead: yes(), Loop: yes(), FetchAtomics: yes(),
		Functions: make(map[string]Function),
		Caps:      capability.Bits(append(capability.Watching(), capability.LockedMemory())),
		Memlock:   Memlock{Limit: 8 << 20},
		Lockdown:  "none",
		OuterUser: true, OuterPID: true,
	}
	for _, name := range FunctionNames() {
		f.Functions[name] = Function{InBTF: true, Params: 2}
	}
	return Host{Features: f, Canary: &Canary{Mode: ModeFentry, Hooks: []Hook{
		{Name: "inet_csk_complete_hashdance", Role: "enqueue", Expected: true, Fired: 1},
		{Name: "inet_csk_reqsk_queue_add", Role: "enqueue"},
		{Name: "inet_csk_accept", Role: "accept", Expected: true, Fired: 1},
	}}}
}

var hosts = []struct {
	name, mode string
	change     func(h *Host)
}{
	{"attach-fails", ModeFentry, func(h *Host) {
		h.Canary, h.AttachErr = nil, errors.New("load programs: program state_entry: permission denied")
	}},
	{"modern", ModeFentry, func(*Host) {}},
	{"unprivileged", ModeNone, func(h *Host) {
		f := h.Features
		f.Caps, f.Lockdown, h.Canary = 0, "", nil
		for _, t := range []*Trial{&f.Fentry, &f.Kprobe, &f.TpBTF, &f.IterTCP, &f.RingBuf} {
			*t = refused(false)
		}
		f.ProbeRead = trial(errUnexplored, false)
	}},
	{"user-namespace", ModeNone, func(h *Host) {
		f := h.Features
		f.OuterUser, f.OuterPID, f.Seccomp, h.Canary = false, false, true, nil
		for _, t := range []*Trial{&f.Fentry, &f.Kprobe, &f.TpBTF, &f.IterTCP, &f.RingBuf} {
			*t = refused(false)
		}
		f.ProbeRead = trial(errUnexplored, false)
		h.DiagErr = errors.New("list TCP sockets: no such file or directory")
	}},
	{"policy-refuses-fentry", ModeRestricted, func(h *Host) {
		f := h.Features
		f.Release, f.Minor, f.Lockdown = "6.18.44", 18, "integrity"
		f.Fentry, f.Kprobe = refused(true), lacking("attach kprobe")
		h.Canary = nil
	}},
	{"5.10", ModeFentry, func(h *Host) {
		f := h.Features
		f.Release, f.Major, f.Minor = "5.10.0-35-cloud-amd64", 5, 10
		f.Memlock = Memlock{Limit: 64 << 10, Counts: true}
		f.Loop, f.FetchAtomics = lacking("load"), lacking("load")
		h.Canary.Hooks[1].Fired = 1
	}},
	{"4.19-without-btf", ModeNone, func(h *Host) {
		f := h.Features
		f.Release, f.Major, f.Minor = "4.19.0-27-amd64", 4, 19
		f.Functions, f.Lockdown, h.Canary = nil, "", nil
		f.Memlock = Memlock{Limit: 64 << 10, Counts: true}
		f.BTF = lacking("no BTF found for kernel version 4.19.0-27-amd64")
		for _, t := range []*Trial{&f.Fentry, &f.TpBTF, &f.IterTCP} {
			*t = trial(fmt.Errorf("needs the kernel's BTF: %w", f.BTF.Err), true)
		}
		f.RingBuf, f.ProbeRead = lacking("create ring buffer"), lacking("load")
	}},
	{"arm64-6.1-without-trampolines", ModeKprobe, func(h *Host) {
		f := h.Features
		f.Release, f.Arch, f.Minor = "6.1.0-40-arm64", "arm64", 1
		f.Fentry = trial(fmt.Errorf("attach fentry: create tracing link: %w", enotsupp), true)
		h.Canary.Mode = ModeKprobe
	}},
	{"perf-event-paranoid", ModeRestricted, func(h *Host) {
		f := h.Features
		f.Caps, f.PerfParanoid = capability.Of(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE), 3
		f.Fentry = lacking("attach fentry")
		f.Kprobe = f.perfTrial(fmt.Errorf("attach kprobe: %w", syscall.EACCES))
		h.Canary = nil
	}},
	{"lockdown-confidentiality", ModeFentry, func(h *Host) {
		f := h.Features
		f.Lockdown = "confidentiality"
		f.Kprobe = trial(fmt.Errorf("attach kprobe: %w", syscall.EPERM), true)
		f.ProbeRead = trial(fmt.Errorf("load: %w", syscall.EINVAL), true)
	}},
	{"inlined-carrier", ModeFentry, func(h *Host) {
		h.Canary.Hooks[0].Fired = 0
		h.Plan.Missing = []Missing{{Function: "security_sock_graft", Consequence: "an accept that was blocking before the start is not seen"}}
	}},
	{"no-enqueue", ModeFentry, func(h *Host) {
		h.Canary.Hooks = h.Canary.Hooks[2:]
		h.Plan.Missing = []Missing{{Function: "inet_csk_complete_hashdance", Consequence: "connections that enter a queue are not counted", Vital: true}}
	}},
	{"setcap-in-a-container", ModeFentry, func(h *Host) {
		f := h.Features
		f.Caps, f.OuterPID, f.Lockdown = capability.Of(unix.CAP_BPF, unix.CAP_PERFMON), false, ""
		h.Canary, h.CanaryErr = nil, errors.New("connect to 127.0.0.1:43210: connection refused")
	}},
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestReportOfKnownHosts(t *testing.T) {
	for _, host := range hosts {
		t.Run(host.name, func(t *testing.T) {
			h := modern()
			host.change(&h)
			h.Plan.Mode, h.Plan.Why = host.mode, "the plan says so"
			if host.mode == ModeNone {
				h.Plan = WithoutEBPF("no eBPF mode works here")
			}
			report := NewReport(h)
			var text bytes.Buffer
			if err := report.WriteText(&text, 80, false); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", host.name+".txt"), text.Bytes())
			for line := range strings.Lines(text.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}

			// What the mode is must not contradict the findings.
			if failed := report.Summary.Fail > 0; failed != (h.Plan.Mode == ModeNone || host.name == "inlined-carrier" || host.name == "no-enqueue" || h.AttachErr != nil) {
				t.Errorf("%d failures in mode %s", report.Summary.Fail, h.Plan.Mode)
			}
			seen := make(map[string]bool)
			for _, f := range report.Findings {
				if seen[f.ID] {
					t.Errorf("two findings %q", f.ID)
				}
				seen[f.ID] = true
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), -update rewrites it:\n%s", name, diff)
	}
}

func TestReportAsJSONLines(t *testing.T) {
	h := modern()
	h.Plan = Plan{Mode: ModeFentry}
	var out bytes.Buffer
	if err := NewReport(h).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, line := range lines {
		var object struct{ Type, ID, Status, What, Mode string }
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("line %d: %v: %s", i+1, err, line)
		}
		if last := i == len(lines)-1; last {
			if object.Type != "summary" || object.Mode != ModeFentry {
				t.Errorf("last line: %s", line)
			}
		} else if object.Type != "finding" || object.ID == "" || object.Status == "" || object.What == "" {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

func TestColorOnlyWhenAsked(t *testing.T) {
	for _, color := range []bool{false, true} {
		var out bytes.Buffer
		if err := NewReport(modern()).WriteText(&out, 80, color); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(out.Bytes(), []byte("\x1b[")); got != color {
			t.Errorf("color %v: escape sequences %v", color, got)
		}
	}
}
