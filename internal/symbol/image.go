package symbol

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"io"
	"slices"
)

// image is an ELF file, open.
type image struct {
	*elf.File
	data io.ReaderAt
}

// place is what a file tells of one of its addresses.
type place struct {
	function string
	start    uint64 // of the function
}

func newImage(data io.ReaderAt) (*image, error) {
	f, err := elf.NewFile(data)
	if err != nil {
		return nil, err
	}
	return &image{f, data}, nil
}

// virtual turns an offset in the file, in bytes, into the address that the
// file's tables use: it differs by where a segment is meant to lie, and a
// position-independent file is loaded anywhere.
func (m *image) virtual(offset uint64) (uint64, bool) {
	for _, p := range m.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && offset >= p.Off && offset-p.Off < p.Filesz {
			return offset - p.Off + p.Vaddr, true
		}
	}
	return 0, false
}

// largestNote bounds the section of a build id, in bytes.
const largestNote = 4 << 10

// buildID is that of the linker (ld --build-id) in hexadecimal, else Go's, else
// empty.
func (m *image) buildID() string {
	if id := m.note(".note.gnu.build-id", "GNU\x00", 3); id != nil {
		return hex.EncodeToString(id)
	}
	return clean(string(m.note(".note.go.buildid", "Go\x00\x00", 4)))
}

// note returns what the first note of a section holds (Elf64_Nhdr: the sizes of
// name and content, and the type).
func (m *image) note(section, name string, kind uint32) []byte {
	s := m.Section(section)
	if s == nil || s.Size > largestNote {
		return nil
	}
	data, err := s.Data()
	if err != nil || len(data) < 12+len(name) {
		return nil
	}
	size := m.ByteOrder.Uint32(data[4:])
	content := data[12+len(name):]
	if m.ByteOrder.Uint32(data[8:]) != kind || !bytes.HasPrefix(data[12:], []byte(name)) || uint64(size) > uint64(len(content)) {
		return nil
	}
	return content[:size]
}

// lookup finds the functions that hold the addresses, which ascend. debugFile
// opens the file of symbols of a build id; it may be nil.
func (m *image) lookup(ctx context.Context, addrs []uint64, debugFile func(buildID string) (io.ReaderAt, func())) (map[uint64]place, error) {
	places := map[uint64]place{}
	errs := []error{m.lookupIn(ctx, elf.SHT_SYMTAB, addrs, places)}
	if m.SectionByType(elf.SHT_SYMTAB) == nil && debugFile != nil {
		errs = append(errs, m.lookupDebug(ctx, addrs, places, debugFile))
	}
	if len(places) < len(addrs) {
		errs = append(errs, m.lookupGo(ctx, missing(addrs, places), places))
	}
	if len(places) < len(addrs) {
		errs = append(errs, m.lookupIn(ctx, elf.SHT_DYNSYM, missing(addrs, places), places))
	}
	return places, errors.Join(errs...)
}

func (m *image) lookupDebug(ctx context.Context, addrs []uint64, places map[uint64]place, debugFile func(string) (io.ReaderAt, func())) error {
	data, done := debugFile(m.buildID())
	if data == nil {
		return nil
	}
	defer done()
	debug, err := newImage(data)
	if err != nil {
		return err
	}
	return debug.lookupIn(ctx, elf.SHT_SYMTAB, addrs, places)
}

// missing are the addresses that have no place yet.
func missing(addrs []uint64, places map[uint64]place) []uint64 {
	return slices.DeleteFunc(slices.Clone(addrs), func(a uint64) bool {
		_, known := places[a]
		return known
	})
}
