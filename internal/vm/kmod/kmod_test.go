package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module makes the smallest ELF file that has a .modinfo section.
func module(t *testing.T, info string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	data := uint64(headerSize + 3*sectionSize)
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Ehsize: headerSize, Shoff: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
	})
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: data, Size: uint64(len(info))})
	put(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: data + uint64(len(info)), Size: uint64(len(names))})
	b.WriteString(info + names)
	return b.Bytes()
}

// directory makes one as /lib/modules/RELEASE.
func directory(t *testing.T) string {
	dir := t.TempDir()
	files := map[string][]byte{
		"modules.builtin":                   []byte("kernel/drivers/virtio/virtio.ko\nkernel/net/in-kernel.ko\n"),
		"kernel/net/tcp_diag.ko":            module(t, "license=GPL\x00depends=inet_diag\x00name=tcp_diag\x00"),
		"kernel/net/inet_diag.ko":           module(t, "depends=virtio,in_kernel\x00"),
		"kernel/drivers/virtio-pci.ko":      module(t, "depends=\x00"),
		"kernel/drivers/virtio_console.ko":  module(t, "depends=virtio_pci,inet_diag\x00"),
		"kernel/drivers/needs_the_gone.ko":  module(t, "depends=gone\x00"),
		"kernel/drivers/not-a-module.ko":    []byte("text"),
		"kernel/drivers/packed/squeezed.ko": module(t, "depends=tcp_diag\x00"),
	}
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("xz", filepath.Join(dir, "kernel/drivers/packed/squeezed.ko")).CombinedOutput(); err != nil {
		t.Fatalf("xz: %v: %s", err, out)
	}
	return dir
}

func TestDependenciesLoadFirst(t *testing.T) {
	index, err := Open(directory(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ want, names string }{
		{"inet_diag tcp_diag", "tcp_diag"},
		{"inet_diag tcp_diag", "tcp-diag inet_diag tcp_diag"},
		{"virtio_pci inet_diag virtio_console tcp_diag", "virtio_console tcp_diag"},
		{"inet_diag tcp_diag squeezed", "squeezed"},
		{"", "virtio in-kernel"},
	}
	for _, test := range tests {
		modules, err := index.Resolve(strings.Fields(test.names)...)
		if err != nil {
			t.Errorf("%s: %v", test.names, err)
			continue
		}
		var got []string
		for _, m := range modules {
			got = append(got, m.Name)
			if !bytes.HasPrefix(m.Content, []byte(elf.ELFMAG)) {
				t.Errorf("%s is not an ELF file", m.Name)
			}
		}
		if !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("%s: %v, want %s", test.names, got, test.want)
		}
	}
}

func TestMissingModulesAreNamed(t *testing.T) {
	index, err := Open(directory(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gone", "needs_the_gone"} {
		var missing *MissingError
		if _, err := index.Resolve(name); !errors.As(err, &missing) || missing.Name != "gone" {
			t.Errorf("%s: %v, want that gone is missing", name, err)
		}
	}
	if _, err := index.Resolve("not-a-module"); err == nil {
		t.Error("a text file was taken for a module")
	}
	if !index.Has("virtio") || !index.Has("virtio-console") || index.Has("gone") {
		t.Error("Has is wrong about what there is")
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("an empty directory was taken for a kernel's modules")
	}
}
