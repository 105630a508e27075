package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/preflight"
)

// healthyDoctor is a host where all that is asked for works.
func healthyDoctor() doctorHost {
	yes := preflight.Trial{Answer: preflight.Yes}
	plan := preflight.Plan{Mode: preflight.ModeFentry, Why: "BTF trampolines work here"}
	f := &preflight.Features{
		Release: "6.12.0", Arch: "amd64", Major: 6, Minor: 12, OuterUser: true, OuterPID: true,
		BTF: yes, Fentry: yes, Kprobe: yes, TpBTF: yes, IterTCP: yes, RingBuf: yes, ProbeRead: yes,
		Caps:      capability.Bits(capability.Watching()),
		Functions: make(map[string]preflight.Function),
	}
	for _, name := range preflight.FunctionNames() {
		f.Functions[name] = preflight.Function{InBTF: true}
	}
	return doctorHost{
		detect: func() *preflight.Features { return f },
		plan:   func(*preflight.Features) preflight.Plan { return plan },
		attach: func(context.Context) (attachment, error) {
			return attachment{plan: plan, canary: preflight.Canary{Mode: plan.Mode, Hooks: []preflight.Hook{
				{Name: "inet_csk_accept", Role: "accept", Expected: true, Fired: 1},
			}}}, nil
		},
		sockets: func(context.Context) error { return nil },
	}
}

func TestDoctorExitCodes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*doctorHost)
		code   int
		prints string
	}{
		{"all works", func(*doctorHost) {}, exitDone, "accept is seen at inet_csk_accept"},
		{"the connection of the canary fails", func(h *doctorHost) {
			attach := h.attach
			h.attach = func(ctx context.Context) (attachment, error) {
				seen, err := attach(ctx)
				seen.canaryErr = errors.New("connection refused")
				return seen, err
			}
		}, exitDone, "could not be traced"},
		{"attaching fails", func(h *doctorHost) {
			h.attach = func(context.Context) (attachment, error) { return attachment{}, errors.New("verifier") }
		}, exitUnavailable, "fail  attach"},
		{"nothing works", func(h *doctorHost) {
			h.detect().Caps = 0
			h.plan = func(*preflight.Features) preflight.Plan { return preflight.WithoutEBPF("see what fails above") }
			h.attach = func(context.Context) (attachment, error) {
				t.Error("attached without a mode")
				return attachment{}, nil
			}
		}, exitUnavailable, "run it with sudo"},
		{"no sock_diag", func(h *doctorHost) {
			h.sockets = func(context.Context) error { return errors.New("no tcp_diag") }
		}, exitDone, "modprobe tcp_diag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := healthyDoctor()
			c.change(&host)
			var out bytes.Buffer
			a := fakeApp(newFakeKernel(), &out)
			err := a.doctor(t.Context(), host, false)
			if code := exitCode(err); code != c.code {
				t.Errorf("exit code %d, want %d: %v", code, c.code, err)
			}
			if !strings.Contains(out.String(), c.prints) {
				t.Errorf("no %q in:\n%s", c.prints, out.String())
			}
		})
	}
}

func TestDoctorAsJSONEndsWithTheMode(t *testing.T) {
	var out bytes.Buffer
	if err := fakeApp(newFakeKernel(), &out).doctor(t.Context(), healthyDoctor(), true); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last struct{ Type, Mode string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Type != "summary" || last.Mode != preflight.ModeFentry {
		t.Errorf("last line: %s", lines[len(lines)-1])
	}
}

// Where nothing can be traced, there is more to look at queues with than ss, unless
// sockets cannot be listed.
func TestDoctorNamesWhatWorksWithoutTracing(t *testing.T) {
	for _, diagErr := range []error{nil, errors.New("no tcp_diag")} {
		host := healthyDoctor()
		host.sockets = func(context.Context) error { return diagErr }
		host.attach = func(context.Context) (attachment, error) { return attachment{}, errors.New("verifier") }
		attached := fakeApp(newFakeKernel(), new(bytes.Buffer)).doctor(t.Context(), host, false)
		host.plan = func(*preflight.Features) preflight.Plan { return preflight.WithoutEBPF("see what fails above") }
		none := fakeApp(newFakeKernel(), new(bytes.Buffer)).doctor(t.Context(), host, false)
		for _, err := range []error{attached, none} {
			looks := strings.Contains(err.Error(), "`acceptwatch snapshot` shows") && strings.Contains(err.Error(), "`acceptwatch diagnose --mode diag`")
			if looks != (diagErr == nil) || strings.Contains(err.Error(), "`ss -ltn`") != (diagErr != nil) {
				t.Errorf("listing sockets: %v; %v", diagErr, err)
			}
		}
	}
}

// TestDoctorOnThisHost holds the exit code against what the features allow.
func TestDoctorOnThisHost(t *testing.T) {
	want := exitDone
	if f := preflight.Detect(); planned(f).Mode == preflight.ModeNone {
		want = exitUnavailable
		if f.Caps.Tracing() && f.OuterUser && f.BTF.OK() && f.AtLeast(5, 10) {
			t.Errorf("no eBPF mode on %s, with privileges and BTF", f.Release)
		}
	}
	var out bytes.Buffer
	if code := fakeApp(newFakeKernel(), &out).run(t.Context(), []string{"doctor"}); code != want {
		t.Errorf("exit code %d, want %d:\n%s", code, want, out.String())
	}
}
