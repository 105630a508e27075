package symbol

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"slices"
)

const (
	// largestTable bounds how much of a table of symbols is read, in bytes:
	// 11 million symbols, ten times those of a browser.
	largestTable = 256 << 20
	tableChunk   = 64 << 10
)

// entry is a symbol of a table.
type entry struct {
	name        uint32 // offset in the table of names
	kind        elf.SymType
	bind        elf.SymBind
	section     elf.SectionIndex
	value, size uint64
}

// candidate is a function that holds an address.
type candidate struct {
	entry
	known bool
}

// better tells which of two functions that hold the same address names it: the
// inner one, or else the name that others may use.
func (c *candidate) better(than *candidate) bool {
	switch {
	case !than.known:
		return true
	case c.value != than.value:
		return c.value > than.value
	default:
		return rank(c.bind) > rank(than.bind)
	}
}

func rank(b elf.SymBind) int {
	switch b {
	case elf.STB_GLOBAL:
		return 2
	case elf.STB_WEAK:
		return 1
	}
	return 0
}

// lookupIn finds the functions that hold the addresses, which ascend, in the
// table of a type; what it does not find it leaves out.
func (m *image) lookupIn(ctx context.Context, table elf.SectionType, addrs []uint64, places map[uint64]place) error {
	s := m.SectionByType(table)
	if s == nil || len(addrs) == 0 {
		return nil
	}
	if int(s.Link) >= len(m.Sections) {
		return fmt.Errorf("read symbols: section %s names no table of names", s.Name)
	}
	holds := make([]candidate, len(addrs))
	unsized := newNearest[entry](addrs)
	err := m.symbols(ctx, s, func(e *entry) {
		switch {
		case e.size > largestFunction:
			return
		case e.size == 0:
			if better := unsized.closer(e.value); better != nil {
				*better = *e
			}
			return
		}
		i, _ := slices.BinarySearch(addrs, e.value)
		for ; i < len(addrs) && addrs[i]-e.value < e.size; i++ {
			if c := (candidate{*e, true}); c.better(&holds[i]) {
				holds[i] = c
			}
		}
	})
	// What was found before an error is as right as without one.
	before := unsized.all()
	for i, a := range addrs {
		if !holds[i].known && before[i].known && m.sameSection(before[i].what, a) {
			holds[i] = candidate{before[i].what, true}
		}
		if !holds[i].known || ctx.Err() != nil {
			continue
		}
		if name := m.nameAt(m.Sections[s.Link], holds[i].name); name != "" {
			places[a] = place{name, holds[i].value}
		}
	}
	return err
}

// symbols calls fn with each symbol of the table that may be a function.
func (m *image) symbols(ctx context.Context, s *elf.Section, fn func(*entry)) error {
	size := elf.Sym64Size
	if m.Class == elf.ELFCLASS32 {
		size = elf.Sym32Size
	}
	left := min(s.FileSize, largestTable)
	buf := make([]byte, tableChunk/size*size)
	var e entry
	for at := int64(s.Offset); left >= uint64(size); {
		if ctx.Err() != nil {
			return fmt.Errorf("read symbols: section %s could not be read in time: %w", s.Name, ctx.Err())
		}
		n, err := m.data.ReadAt(buf[:min(uint64(len(buf)), left)], at)
		whole := n / size * size
		for b := buf[:whole]; len(b) > 0; b = b[size:] {
			if m.decode(b, &e); e.function() {
				fn(&e)
			}
		}
		if err != nil && whole == 0 {
			return fmt.Errorf("read symbols of section %s: %w", s.Name, err)
		}
		if whole == 0 {
			break
		}
		at += int64(whole)
		left -= uint64(whole)
	}
	if s.FileSize > largestTable {
		return fmt.Errorf("read symbols: section %s is larger than %d MiB; the rest of it was not read", s.Name, largestTable>>20)
	}
	return nil
}

// decode reads an Elf64_Sym or Elf32_Sym.
func (m *image) decode(b []byte, e *entry) {
	order := m.ByteOrder
	e.name = order.Uint32(b)
	var info byte
	if m.Class == elf.ELFCLASS32 {
		e.value, e.size = uint64(order.Uint32(b[4:])), uint64(order.Uint32(b[8:]))
		info, e.section = b[12], elf.SectionIndex(order.Uint16(b[14:]))
	} else {
		info, e.section = b[4], elf.SectionIndex(order.Uint16(b[6:]))
		e.value, e.size = order.Uint64(b[8:]), order.Uint64(b[16:])
	}
	e.kind, e.bind = elf.ST_TYPE(info), elf.ST_BIND(info)
}

// function says whether the symbol may be one: assembly often leaves the type
// out.
func (e *entry) function() bool {
	if e.section == elf.SHN_UNDEF || e.section >= elf.SHN_LORESERVE {
		return false
	}
	return e.kind == elf.STT_FUNC || e.kind == elf.STT_GNU_IFUNC || e.kind == elf.STT_NOTYPE && e.size == 0
}

// sameSection says whether the address is in the section of the symbol, which
// is to be one of code.
func (m *image) sameSection(e entry, addr uint64) bool {
	if int(e.section) >= len(m.Sections) {
		return false
	}
	s := m.Sections[e.section]
	return s.Flags&elf.SHF_EXECINSTR != 0 && addr >= s.Addr && addr-s.Addr < s.Size
}

// nameAt reads a name from the table of names; it is empty if there is none,
// and for the marks that arm64 compilers leave ($x, $d).
func (m *image) nameAt(table *elf.Section, offset uint32) string {
	if uint64(offset) >= table.FileSize {
		return ""
	}
	buf := make([]byte, min(longestSymbol, table.FileSize-uint64(offset)))
	n, err := m.data.ReadAt(buf, int64(table.Offset)+int64(offset))
	if err != nil && err != io.EOF {
		return ""
	}
	name, _, _ := bytes.Cut(buf[:n], []byte{0})
	if len(name) == 0 || name[0] == '$' {
		return ""
	}
	return readable(string(name))
}
