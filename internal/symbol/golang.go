package symbol

import (
	"context"
	"debug/elf"
	"debug/gosym"
	"fmt"
)

// largestPclntab bounds Go's table of functions, in bytes; that of Kubernetes
// takes 40 MiB.
const largestPclntab = 128 << 20

// lookupGo finds functions of Go in the table that its runtime uses itself.
func (m *image) lookupGo(ctx context.Context, addrs []uint64, places map[uint64]place) error {
	s := m.Section(".gopclntab")
	if s == nil {
		s = m.Section(".data.rel.ro.gopclntab") // position-independent
	}
	text := m.Section(".text")
	if s == nil || text == nil || !m.linkedByGo() {
		return nil
	}
	if s.FileSize > largestPclntab {
		return fmt.Errorf("read Go's table of functions: it is larger than %d MiB", largestPclntab>>20)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("read Go's table of functions: no time was left for it: %w", ctx.Err())
	}
	data, err := s.Data()
	if err != nil {
		return fmt.Errorf("read Go's table of functions: %w", err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return fmt.Errorf("read Go's table of functions: %w", err)
	}
	for _, a := range addrs {
		if fn := table.PCToFunc(a); fn != nil {
			places[a] = place{readable(fn.Name), fn.Entry}
		}
	}
	return nil
}

// linkedByGo says whether Go's code starts where .text does, which the table
// depends on: a C linker puts its own code before, and an .init section aside.
func (m *image) linkedByGo() bool {
	return m.Section(".init") == nil && m.Type != elf.ET_REL
}
