package symbol

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Symbolizer names addresses, and remembers the answers. It must not be used by
// two goroutines at a time.
type Symbolizer struct {
	files  map[identity]*answers
	count  int // places in files
	kernel map[uint64]Frame
}

// mostAnswers bounds the addresses that are remembered, of files and of the
// kernel each.
const mostAnswers = 1 << 16

// answers are what a file has told.
type answers struct {
	buildID string
	places  map[uint64]place // by the file's own address; no function: it has no name
}

// New returns a Symbolizer that knows nothing yet.
func New() *Symbolizer {
	return &Symbolizer{files: map[identity]*answers{}, kernel: map[uint64]Frame{}}
}

// User names stacks of one process, which are addresses that start with the
// leaf. An address that lies in nothing executable ends its stack: it came from
// following a frame pointer that was none.
//
// The stacks are complete also with an error, which says why some names are
// missing; without permission, or when the process has exited, frames have
// addresses only. When the context ends, what is not named by then stays so.
func (s *Symbolizer) User(ctx context.Context, pid int, stacks [][]uint64) ([]Stack, error) {
	p, err := openProcess(pid)
	if err != nil {
		return Addresses(stacks), fmt.Errorf("name functions of process %d: %w", pid, err)
	}
	defer p.close()
	named, err := s.frames(ctx, p, stacks)
	out := make([]Stack, len(stacks))
	for i, stack := range stacks {
		for depth, addr := range stack {
			f, executable := named[lookedUp(addr, depth)]
			if !executable && depth > 0 {
				break
			}
			out[i].Frames = append(out[i].Frames, restored(f, addr, depth))
		}
		out[i].Frames, out[i].Truncated = ended(out[i].Frames)
	}
	if err != nil {
		err = fmt.Errorf("name functions of process %d: %w", pid, err)
	}
	return out, err
}

// lookedUp is the address whose function is meant: that of a caller is the one
// after its call, which may be the next function's.
func lookedUp(addr uint64, depth int) uint64 {
	if depth > 0 && addr > 0 {
		return addr - 1
	}
	return addr
}

func restored(f Frame, addr uint64, depth int) Frame {
	f.Address = addr
	if f.Module != "" {
		f.Offset += addr - lookedUp(addr, depth)
	}
	return f
}

func Addresses(stacks [][]uint64) []Stack {
	out := make([]Stack, len(stacks))
	for i, stack := range stacks {
		out[i].Truncated = len(stack) > 0
		for _, addr := range stack {
			out[i].Frames = append(out[i].Frames, Frame{Address: addr})
		}
	}
	return out
}

// frames names what lies in executable mappings.
func (s *Symbolizer) frames(ctx context.Context, p *process, stacks [][]uint64) (map[uint64]Frame, error) {
	named := map[uint64]Frame{}
	for i, addrs := range p.byFile(ascending(stacks)) {
		m := p.mappings[i]
		if err := s.inFile(ctx, p, m, addrs, named); err != nil {
			p.failed(m, err)
		}
	}
	p.jit(ctx, named)
	return named, errors.Join(p.errs...)
}

// ascending are all addresses to look up, once each.
func ascending(stacks [][]uint64) []uint64 {
	all := map[uint64]bool{}
	for _, stack := range stacks {
		for depth, addr := range stack {
			all[lookedUp(addr, depth)] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// inFile names addresses that lie in mappings of the same file.
func (s *Symbolizer) inFile(ctx context.Context, p *process, m mapping, addrs []uint64, named map[uint64]Frame) error {
	for _, a := range addrs {
		named[a] = Frame{Module: clean(m.path), Address: a, Offset: p.fileOffset(a)}
	}
	data, id, done, err := p.open(m)
	if err != nil || data == nil {
		return err
	}
	defer done()
	elf, err := newImage(data)
	if err != nil {
		return nil // not a file of code: a JIT's
	}
	known := s.answersOf(id, elf)
	virtual := map[uint64]uint64{} // by the address in the process
	for _, a := range addrs {
		if v, ok := elf.virtual(p.fileOffset(a)); ok {
			virtual[a] = v
		}
	}
	err = s.ask(ctx, p, elf, known, virtual)
	for a, v := range virtual {
		f := named[a]
		f.BuildID = known.buildID
		if found := known.places[v]; found.function != "" {
			f.Function, f.Offset = found.function, v-found.start
		}
		named[a] = f
	}
	return err
}

// ask looks up what is not known yet.
func (s *Symbolizer) ask(ctx context.Context, p *process, elf *image, known *answers, virtual map[uint64]uint64) error {
	var addrs []uint64
	for _, v := range virtual {
		if _, asked := known.places[v]; !asked {
			addrs = append(addrs, v)
		}
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	if len(addrs) == 0 {
		return nil
	}
	places, err := elf.lookup(ctx, addrs, p.debugFile)
	for _, v := range addrs {
		if found, ok := places[v]; ok || ctx.Err() == nil { // else it is not known yet whether it has a name
			known.places[v] = found
		}
	}
	s.count += len(addrs)
	return err
}

// answersOf returns what is known of the file, and forgets all others when that
// becomes too much.
func (s *Symbolizer) answersOf(id identity, elf *image) *answers {
	if known := s.files[id]; known != nil {
		return known
	}
	if s.count > mostAnswers || len(s.files) > mostAnswers/16 {
		s.count = 0
		clear(s.files)
	}
	known := &answers{elf.buildID(), map[uint64]place{}}
	s.files[id] = known
	return known
}

// Kernel names stacks of the kernel, the leaf first. They are complete also with
// an error, [ErrHidden] for one.
func (s *Symbolizer) Kernel(stacks [][]uint64) ([][]Frame, error) {
	wanted := slices.DeleteFunc(ascending(stacks), func(a uint64) bool {
		_, known := s.kernel[a]
		return known
	})
	err := s.askKernel(wanted)
	out := make([][]Frame, len(stacks))
	for i, stack := range stacks {
		for depth, addr := range stack {
			f, known := s.kernel[lookedUp(addr, depth)]
			if !known {
				f = Frame{Module: kernelModule}
			}
			out[i] = append(out[i], restored(f, addr, depth))
		}
	}
	return out, err
}

func (s *Symbolizer) askKernel(addrs []uint64) error {
	if len(addrs) == 0 {
		return nil
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return fmt.Errorf("name kernel functions: %w", err)
	}
	defer f.Close()
	frames, err := parseKallsyms(f, addrs)
	if err != nil {
		return fmt.Errorf("name kernel functions: %w", err)
	}
	if len(s.kernel) > mostAnswers {
		clear(s.kernel)
	}
	for i, a := range addrs {
		s.kernel[a] = frames[i]
	}
	return nil
}
