package preflight

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

// Detect tries everything once and takes a few tens of milliseconds. It
// leaves nothing loaded, attached or open, with one exception: where
// RLIMIT_MEMLOCK applies to eBPF it stays lifted for this process, because
// nothing could be loaded otherwise.
func Detect() *Features {
	f := here()
	try := f.trial
	k := kernel{f.Types}
	spec, err := k.types.Kernel()
	if f.BTF = try(err); err == nil {
		f.Functions = functions(spec)
	}
	f.RingBuf = try(tryRingBuf())
	f.Kprobe = f.perfTrial(k.tryKprobe())
	f.Fentry = try(needs(f.BTF, "the kernel's BTF", k.tryFentry))
	f.TpBTF = try(needs(f.BTF, "the kernel's BTF", k.tryTpBTF))
	f.IterTCP = try(needs(f.BTF, "the kernel's BTF", k.tryIterTCP))

	f.ProbeRead = try(inVehicle(f, k.tryProbeRead))
	f.Loop = try(inVehicle(f, k.tryLoop))
	f.FetchAtomics = try(inVehicle(f, k.tryFetchAtomics))
	return f
}

// DetectWalk tries only what a walk of queues needs, and attaches to nothing
// that others pass: BTF, RingBuf, IterTCP, ProbeRead and Loop. Without
// privileges it tries nothing.
func DetectWalk() *Features {
	f := here()
	k := kernel{f.Types}
	if f.RingBuf = f.trial(tryRingBuf()); !f.RingBuf.OK() {
		return f
	}
	_, err := k.types.Kernel()
	f.BTF = f.trial(err)
	f.IterTCP = f.trial(needs(f.BTF, "the kernel's BTF", k.tryIterTCP))
	if f.IterTCP.OK() {
		f.ProbeRead = f.trial(k.tryProbeRead(iterSpec()))
		f.Loop = f.trial(k.tryLoop(iterSpec()))
	}
	return f
}

// here is what needs no program.
func here() *Features {
	f := &Features{
		Arch:      runtime.GOARCH,
		Caps:      capability.Effective(),
		Lockdown:  activeWord(readFile("/sys/kernel/security/lockdown")),
		Seccomp:   seccompFiltered(readFile("/proc/self/status")),
		OuterUser: capability.InitialUser(),
		OuterPID:  capability.InitialPID(),
		Types:     btf.NewCache(),
	}
	f.PerfParanoid, _ = strconv.Atoi(strings.TrimSpace(string(readFile("/proc/sys/kernel/perf_event_paranoid"))))
	f.Release = kernelRelease()
	f.Major, f.Minor = parseRelease(f.Release)
	f.Memlock = liftMemlock(!f.AtLeast(5, 11))
	return f
}

// trial sorts the result of an attempt.
func (f *Features) trial(err error) Trial { return trial(err, f.Caps.Tracing() && f.OuterUser) }

// perfTrial sorts the result of an attempt that calls perf_event_open.
func (f *Features) perfTrial(err error) Trial {
	t := f.trial(err)
	if t.Reason == Policy && f.PerfParanoid > 2 && !f.Caps.Has(unix.CAP_SYS_ADMIN) {
		t.Reason, t.Err = Privilege, &ParanoidError{f.PerfParanoid, err}
	}
	return t
}

// needs makes the attempt if what it builds on is there. If that is known to
// be missing, so is the rest; if that is not known, neither is the rest.
func needs(base Trial, what string, attempt func() error) error {
	switch base.Answer {
	case Yes:
		return attempt()
	case No:
		return fmt.Errorf("needs %s: %w", what, base.Err)
	default:
		return fmt.Errorf("needs %s: %w: %w", what, errUnexplored, base.Err)
	}
}

// inVehicle makes the attempt in a program type that loads here.
func inVehicle(f *Features, attempt func(*ebpf.ProgramSpec) error) error {
	switch {
	case f.TpBTF.OK():
		return attempt(tpBTFSpec())
	case f.Kprobe.OK():
		return attempt(kprobeSpec())
	case f.Fentry.OK():
		return attempt(fentrySpec())
	default:
		return fmt.Errorf("no tracing program can be loaded: %w", errUnexplored)
	}
}

// liftMemlock lifts the limit if this kernel applies it to eBPF. Whether it
// does was found by package rlimit, with a map under a limit of 0. Without
// privileges that fails on every kernel, so what fails from 5.11 on says
// nothing about the limit.
func liftMemlock(accounted bool) Memlock {
	before, err := memlock()
	if err != nil {
		return Memlock{Counts: accounted, Err: err}
	}
	if err := rlimit.RemoveMemlock(); err != nil && accounted {
		return Memlock{Limit: before, Counts: true, Err: fmt.Errorf("lift RLIMIT_MEMLOCK: %w", err)}
	}
	after, err := memlock()
	return Memlock{Limit: before, Counts: accounted && (err != nil || after != before), Err: err}
}

func memlock() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &limit); err != nil {
		return 0, fmt.Errorf("read RLIMIT_MEMLOCK: %w", err)
	}
	return limit.Cur, nil
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// parseRelease reads the first two numbers: "6.1.0-18-amd64" is 6, 1. It
// gives 0, 0 for anything else.
func parseRelease(release string) (major, minor int) {
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0
	}
	return major, minor
}

// activeWord is the bracketed one of "none [integrity] confidentiality".
func activeWord(text []byte) string {
	_, rest, ok := strings.Cut(string(text), "[")
	if !ok {
		return ""
	}
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// seccompFiltered reads the Seccomp line of /proc/PID/status, where 2 is
// SECCOMP_MODE_FILTER.
func seccompFiltered(status []byte) bool {
	return bytes.Contains(status, []byte("\nSeccomp:\t2\n"))
}

// readFile returns nothing if the file cannot be read: its readers want words
// for a message.
func readFile(name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return data
}
