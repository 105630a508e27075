package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

const (
	// bystander is what fentry and kprobe are tried on: it exists on every
	// kernel with TCP, is never inlined because it is exported to modules,
	// and runs only when a listener is closed.
	bystander = "inet_csk_listen_stop"
	// stateTracepoint is what tp_btf is tried on. It runs at every change of
	// a TCP state, for the milliseconds of the trial.
	stateTracepoint = "inet_sock_set_state"
)

// kernel makes the trials. The types of the running kernel are decoded once
// for all of them.
type kernel struct {
	types *btf.Cache
}

// license lets the programs call GPL-only helpers.
const license = "Dual MIT/GPL"

// returnZero is the smallest program.
func returnZero() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
}

func fentrySpec() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "aw_try_fentry", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry,
		AttachTo: bystander, License: license, Instructions: returnZero(),
	}
}

func kprobeSpec() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "aw_try_kprobe", Type: ebpf.Kprobe, AttachTo: bystander, License: license,
		Instructions: returnZero(),
	}
}

func tpBTFSpec() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "aw_try_tp_btf", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp,
		AttachTo: stateTracepoint, License: license, Instructions: returnZero(),
	}
}

func iterSpec() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "aw_try_iter", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter,
		AttachTo: "tcp", License: license, Instructions: returnZero(),
	}
}

// tryFentry loads and attaches: arm64 kernels from 6.0 to 6.3 load a program
// whose attach they then refuse with ENOTSUPP.
func (k kernel) tryFentry() error {
	return k.attempt(fentrySpec(), func(p *ebpf.Program) error {
		l, err := link.AttachTracing(link.TracingOptions{Program: p, AttachType: ebpf.AttachTraceFEntry})
		return attached("attach fentry", l, err)
	})
}

// tryKprobe wants the perf event source that came with Linux 4.17: the older
// way, through tracefs, leaves probes behind when a process dies.
func (k kernel) tryKprobe() error {
	const sources = "/sys/bus/event_source/devices"
	if _, err := os.Stat(sources); err == nil {
		if _, err := os.Stat(sources + "/kprobe"); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("find the kprobe event source (no CONFIG_KPROBE_EVENTS): %w", err)
		}
	}
	return k.attempt(kprobeSpec(), func(p *ebpf.Program) error {
		l, err := link.Kprobe(bystander, p, nil)
		return attached("attach kprobe", l, err)
	})
}

func (k kernel) tryTpBTF() error {
	return k.attempt(tpBTFSpec(), func(p *ebpf.Program) error {
		l, err := link.AttachTracing(link.TracingOptions{Program: p, AttachType: ebpf.AttachTraceRawTp})
		return attached("attach tp_btf", l, err)
	})
}

func (k kernel) tryIterTCP() error {
	return k.attempt(iterSpec(), func(p *ebpf.Program) error {
		it, err := link.AttachIter(link.IterOptions{Program: p})
		if err != nil {
			return fmt.Errorf("link iter/tcp: %w", err)
		}
		r, err := it.Open()
		if err != nil {
			return errors.Join(fmt.Errorf("open iter/tcp: %w", err), it.Close())
		}
		return errors.Join(r.Close(), it.Close())
	})
}

func tryRingBuf() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "aw_try_ring", Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize()),
	})
	if err != nil {
		return fmt.Errorf("create ring buffer: %w", err)
	}
	return m.Close()
}

// tryProbeRead asks for a read of address 0, and never runs it. Kernels before
// 5.13 load it under lockdown too, and fail the read itself
// (kernel/trace/bpf_trace.c; v5.13 moved the test to load time).
func (k kernel) tryProbeRead(vehicle *ebpf.ProgramSpec) error {
	vehicle.Instructions = asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, -8),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnProbeReadKernel.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
	return k.attempt(vehicle, nil)
}

func (k kernel) tryFetchAtomics(vehicle *ebpf.ProgramSpec) error {
	vehicle.Instructions = asm.Instructions{
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
		asm.FetchAdd.Mem(asm.RFP, asm.R1, asm.DWord, -8),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
	return k.attempt(vehicle, nil)
}

// tryLoop calls bpf_loop with no arguments set. The verifier looks the helper
// up first (EINVAL: there is none) and only then at the registers (EACCES), so
// the refusal tells the two apart without a callback.
func (k kernel) tryLoop(vehicle *ebpf.ProgramSpec) error {
	vehicle.Instructions = asm.Instructions{
		asm.FnLoop.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
	err := k.attempt(vehicle, nil)
	if errors.Is(err, syscall.EACCES) {
		return nil
	}
	return err
}

// attempt loads spec, hands it to use if that is not nil, and unloads it.
func (k kernel) attempt(spec *ebpf.ProgramSpec, use func(*ebpf.Program) error) error {
	c, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{
		Programs: map[string]*ebpf.ProgramSpec{spec.Name: spec},
	}, ebpf.CollectionOptions{
		Cache: k.types,
		// Loading is tried a second time for its log, which nobody reads.
		Programs: ebpf.ProgramOptions{LogDisabled: true},
	})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer c.Close()
	if use == nil {
		return nil
	}
	return use(c.Programs[spec.Name])
}

// attached closes l again, or says what failed.
func attached(what string, l link.Link, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return l.Close()
}

// functions looks the kernel functions up by name.
func functions(spec *btf.Spec) map[string]Function {
	found := make(map[string]Function)
	for _, name := range FunctionNames() {
		var fn *btf.Func
		if err := spec.TypeByName(name, &fn); err != nil {
			found[name] = Function{}
			continue
		}
		f := Function{InBTF: true}
		if proto, ok := fn.Type.(*btf.FuncProto); ok {
			f.Params = len(proto.Params)
		}
		found[name] = f
	}
	return found
}
