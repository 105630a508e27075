package stacks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// loadMaps makes the maps and says in them whose stacks are wanted.
func (s *Sampler) loadMaps() error {
	var err error
	if s.object, err = s.configured(); err != nil {
		return err
	}
	// Maps are charged to the limit on locked memory before Linux 5.11.
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit on locked memory, which holds maps before Linux 5.11: %w", err)
	}
	s.types = btf.NewCache()
	if _, err = s.loadWith("", nil); err != nil {
		return err
	}
	for _, pid := range s.options.Processes {
		if err := s.maps()[kernelMapProcesses].Put(uint32(pid), uint8(1)); err != nil {
			return fmt.Errorf("name the processes: %w", err)
		}
	}
	for _, t := range s.threads {
		state := kernelThread{Tgid: uint32(t.pid)}
		if err := s.maps()[kernelMapThreads].Put(uint32(t.tid), &state); err != nil {
			return fmt.Errorf("name the threads: %w", err)
		}
	}
	return nil
}

// configured is the object with sizes and threads set.
func (s *Sampler) configured() (*ebpf.CollectionSpec, error) {
	spec, err := loadKernel()
	if err != nil {
		return nil, err
	}
	spec.Maps[kernelMapStacks].MaxEntries = uint32(s.options.Stacks)
	spec.Maps[kernelMapStackCounts].MaxEntries = uint32(s.options.Counts)
	spec.Maps[kernelMapProcesses].MaxEntries = uint32(max(1, len(s.options.Processes)))
	spec.Maps[kernelMapThreads].MaxEntries = uint32(max(1, len(s.threads)))
	bits := make([]uint64, spec.Variables[kernelVarCfgThreads].Size()/8)
	for _, t := range s.threads {
		bit := t.tid % (64 * len(bits))
		bits[bit/64] |= 1 << (bit % 64)
	}
	return spec, spec.Variables[kernelVarCfgThreads].Set(bits)
}

// program loads one program, with the maps that are there: each can be refused.
func (s *Sampler) program(name string) (*ebpf.Program, error) {
	shared := map[string]*ebpf.Map{}
	for name, m := range s.maps() {
		if name != constants {
			shared[name] = m
		}
	}
	coll, err := s.loadWith(name, shared)
	if err != nil {
		return nil, err
	}
	return coll.Programs[name], nil
}

// constants is the section of the configuration, which is frozen: each program
// has one of its own.
const constants = ".rodata"

// loadWith loads one program, or none, and the maps that are not shared.
func (s *Sampler) loadWith(program string, shared map[string]*ebpf.Map) (*ebpf.Collection, error) {
	spec := s.object.Copy()
	for name := range spec.Programs {
		if name != program {
			delete(spec.Programs, name)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared, Cache: s.types})
	if err != nil {
		return nil, err
	}
	s.loaded = append(s.loaded, coll)
	return coll, nil
}

func (s *Sampler) maps() map[string]*ebpf.Map { return s.loaded[0].Maps }

// attachClock begins to sample on each CPU.
func (s *Sampler) attachClock() error {
	prog, err := s.program(kernelProgOnCpu)
	if err != nil {
		return err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	for cpu := range cpus {
		event, err := openClock(cpu, s.options.Frequency)
		if errors.Is(err, unix.ENODEV) {
			continue // not online
		}
		if err != nil {
			return errors.Join(err, s.closeClock())
		}
		s.events = append(s.events, event)
		if err := startClock(event, prog); err != nil {
			return errors.Join(err, s.closeClock())
		}
	}
	return nil
}

func openClock(cpu, frequency int) (*os.File, error) {
	attr := unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Size:   unix.PERF_ATTR_SIZE_VER1,
		Sample: uint64(frequency),
		Bits:   unix.PerfBitDisabled | unix.PerfBitFreq | unix.PerfBitExcludeIdle,
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open the clock of a CPU (perf_event_open): %w", err)
	}
	return os.NewFile(uintptr(fd), "perf event"), nil
}

func startClock(event *os.File, prog *ebpf.Program) error {
	if err := unix.IoctlSetInt(int(event.Fd()), unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return fmt.Errorf("attach to the clock of a CPU: %w", err)
	}
	if err := unix.IoctlSetInt(int(event.Fd()), unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return fmt.Errorf("start the clock of a CPU: %w", err)
	}
	return nil
}

func (s *Sampler) closeClock() error {
	var errs []error
	for _, e := range s.events {
		errs = append(errs, e.Close())
	}
	s.events = nil
	return errors.Join(errs...)
}

func (s *Sampler) attachSwitches() error {
	prog, err := s.program(kernelProgOffCpu)
	if err != nil {
		return err
	}
	s.switches, err = link.AttachTracing(link.TracingOptions{Program: prog})
	return err
}

func (s *Sampler) attachRegisters() error {
	prog, err := s.program(kernelProgRegisters)
	if err != nil {
		return err
	}
	s.registers, err = link.AttachIter(link.IterOptions{Program: prog})
	return err
}

// unavailable says in one sentence why a part is missing.
func unavailable(p Part, err error) *Unavailable {
	var reason string
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		reason = "not permitted: run as root, or with CAP_BPF and CAP_PERFMON"
	case errors.Is(err, fs.ErrPermission):
		reason = fmt.Sprintf("a security policy of this host (lockdown, an LSM, seccomp) refuses it: %v", err)
	case p == Blocked:
		reason = "this kernel does not tell the registers of a sleeping thread (Linux 5.15 does): its user stack is the place of its system call alone"
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, syscall.ENOSYS):
		reason = fmt.Sprintf("this kernel does not support it: %v", err)
	default:
		reason = err.Error()
	}
	return &Unavailable{p, reason, err}
}
