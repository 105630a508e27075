package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

func TestTrialSortsErrors(t *testing.T) {
	for _, c := range []struct {
		err        error
		privileged bool
		answer     Answer
		reason     Reason
	}{
		{nil, true, Yes, NoReason},
		{syscall.EPERM, false, No, Privilege},
		{syscall.EPERM, true, No, Policy},
		{syscall.EACCES, true, No, Policy},
		{enotsupp, true, No, Lacking},
		{syscall.EINVAL, true, No, Lacking},
		{syscall.ENOSYS, false, No, Lacking},
		{ebpf.ErrNotSupported, true, No, Lacking},
		{btf.ErrNotFound, true, No, Lacking},
		{fs.ErrNotExist, true, No, Lacking},
		{syscall.ENOMEM, true, Unknown, Exhausted},
		{syscall.EMFILE, true, Unknown, Exhausted},
		{errUnexplored, true, Unknown, Unexplored},
		{errors.New("verifier says no"), true, Unknown, Strange},
	} {
		wrapped := c.err
		if wrapped != nil {
			wrapped = fmt.Errorf("load: %w", c.err)
		}
		got := trial(wrapped, c.privileged)
		if got.Answer != c.answer || got.Reason != c.reason || !errors.Is(got.Err, c.err) {
			t.Errorf("%v, privileged %v: %v %v, want %v %v", c.err, c.privileged, got.Answer, got.Reason, c.answer, c.reason)
		}
	}
}

func TestWhatDependsOnAFailureIsNotTried(t *testing.T) {
	tried := func() error { t.Error("tried"); return nil }
	no := trial(needs(lacking("BTF"), "BTF", tried), true)
	if no.Answer != No || no.Reason != Lacking {
		t.Errorf("on something missing: %v %v", no.Answer, no.Reason)
	}
	unknown := trial(needs(trial(syscall.ENOMEM, true), "BTF", tried), true)
	if unknown.Answer != Unknown || unknown.Reason != Unexplored {
		t.Errorf("on something unknown: %v %v", unknown.Answer, unknown.Reason)
	}
}

func TestParseRelease(t *testing.T) {
	for release, want := range map[string][2]int{
		"6.1.0-18-amd64": {6, 1}, "5.10.0": {5, 10}, "6.18-rc1": {6, 18}, "7.3+": {7, 3}, "": {}, "next": {},
	} {
		if major, minor := parseRelease(release); [2]int{major, minor} != want {
			t.Errorf("%q: %d.%d, want %v", release, major, minor, want)
		}
	}
}

func TestActiveWord(t *testing.T) {
	for text, want := range map[string]string{
		"[none] integrity confidentiality\n": "none", "none [integrity] confidentiality\n": "integrity", "": "", "[": "",
	} {
		if got := activeWord([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestDetectOnThisHost decides by capabilities what must be found: without
// them the trials have to say that they are missing, and with them tp_btf,
// iter/tcp and the ring buffer have to work on any kernel that has BTF and is
// new enough.
func TestDetectOnThisHost(t *testing.T) {
	before := descriptors(t)
	f := Detect()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}

	programs := map[string]Trial{"fentry": f.Fentry, "kprobe": f.Kprobe, "tp_btf": f.TpBTF, "iter/tcp": f.IterTCP}
	for name, got := range programs {
		if (got.Err == nil) != got.OK() {
			t.Errorf("%s: answer %v with error %v", name, got.Answer, got.Err)
		}
		if got.Answer == Unknown {
			t.Errorf("%s: could not tell: %v", name, got.Err)
		}
	}

	if !f.Caps.Tracing() || !f.OuterUser {
		for name, got := range programs {
			if got.OK() {
				t.Errorf("%s works without privileges", name)
			}
		}
		return
	}
	if !f.BTF.OK() || !f.AtLeast(5, 10) {
		t.Fatalf("these tests need Linux 5.10 or later with BTF: %s, BTF %v", f.Release, f.BTF.Err)
	}
	for name, got := range map[string]Trial{
		"tp_btf": f.TpBTF, "iter/tcp": f.IterTCP, "ring buffer": f.RingBuf,
	} {
		if !got.OK() {
			t.Errorf("%s: %v", name, got.Err)
		}
	}
	if f.AtLeast(5, 17) && !f.Loop.OK() {
		t.Errorf("bpf_loop: %v", f.Loop.Err)
	}
	if f.AtLeast(5, 12) && f.Arch == "amd64" && !f.FetchAtomics.OK() {
		t.Errorf("fetching atomics: %v", f.FetchAtomics.Err)
	}
	accept := f.Functions["inet_csk_accept"]
	want := 4
	if f.AtLeast(6, 10) {
		want = 2
	}
	if !accept.InBTF || accept.Params != want {
		t.Errorf("inet_csk_accept: %+v, want %d parameters", accept, want)
	}
}

// The few trials find what all of them find, and leave nothing behind.
func TestDetectWalkFindsTheSame(t *testing.T) {
	before := descriptors(t)
	f, all := DetectWalk(), Detect()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if f.RingBuf.Answer != all.RingBuf.Answer || f.RingBuf.OK() && f.IterTCP.Answer != all.IterTCP.Answer ||
		f.IterTCP.OK() && (f.BTF.Answer != all.BTF.Answer || f.Loop.Answer != all.Loop.Answer || f.ProbeRead.Answer != all.ProbeRead.Answer) {
		t.Errorf("%+v, but all trials find %+v", f, all)
	}
}

// TestUnknownHelperIsTold proves that tryLoop's reading of the verifier's two
// refusals holds on this kernel: a helper that no kernel has is EINVAL.
func TestUnknownHelperIsTold(t *testing.T) {
	f := Detect()
	if !f.TpBTF.OK() {
		if f.Caps.Tracing() && f.OuterUser {
			t.Fatalf("tp_btf: %v", f.TpBTF.Err)
		}
		t.Skip("needs cap_bpf and cap_perfmon")
	}
	spec := tpBTFSpec()
	spec.Instructions = asm.Instructions{asm.BuiltinFunc(60000).Call(), asm.Mov.Imm(asm.R0, 0), asm.Return()}
	err := kernel{types: btf.NewCache()}.attempt(spec, nil)
	if !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a helper that does not exist: %v, want EINVAL", err)
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

func BenchmarkDetect(b *testing.B) {
	for b.Loop() {
		Detect()
	}
}
