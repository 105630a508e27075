package elfdeps

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

// object is a dynamic ELF file to be made.
type object struct {
	machine        elf.Machine
	interpreter    string
	needed         []string
	rpath, runpath string
}

// write makes the smallest file that debug/elf reads as the object.
func (o object) write(t *testing.T, name string) {
	t.Helper()
	strs := "\x00"
	var dynamic []elf.Dyn64
	add := func(tag elf.DynTag, values ...string) {
		for _, value := range values {
			if value != "" {
				dynamic = append(dynamic, elf.Dyn64{Tag: int64(tag), Val: uint64(len(strs))})
				strs += value + "\x00"
			}
		}
	}
	add(elf.DT_NEEDED, o.needed...)
	add(elf.DT_RPATH, o.rpath)
	add(elf.DT_RUNPATH, o.runpath)
	dynamic = append(dynamic, elf.Dyn64{})
	const names = "\x00.dynstr\x00.dynamic\x00.shstrtab\x00"
	const header, program, section = 64, 56, 64
	interp := o.interpreter + "\x00"
	start := uint64(header + program + 4*section)
	strsAt := start + uint64(len(interp))
	dynamicAt := strsAt + uint64(len(strs))
	namesAt := dynamicAt + uint64(16*len(dynamic))
	segment := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: start, Filesz: uint64(len(interp))}
	if o.interpreter == "" {
		segment.Type = uint32(elf.PT_NULL)
	}
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_DYN), Machine: uint16(o.machine), Version: uint32(elf.EV_CURRENT), Ehsize: header,
			Phoff: header, Phentsize: program, Phnum: 1,
			Shoff: header + program, Shentsize: section, Shnum: 4, Shstrndx: 3,
		},
		segment,
		elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: strsAt, Size: uint64(len(strs))},
		elf.Section64{Name: 9, Type: uint32(elf.SHT_DYNAMIC), Link: 1, Off: dynamicAt, Size: uint64(16 * len(dynamic)), Entsize: 16},
		elf.Section64{Name: 18, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
		[]byte(interp), []byte(strs), dynamic, []byte(names),
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, name, b.String())
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestLibrariesAreFoundAsTheLinkerFindsThem(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	amd64 := elf.EM_X86_64
	object{machine: amd64}.write(t, at("cache/libcached.so"))
	object{machine: amd64}.write(t, at("both/libcached.so"))
	object{machine: elf.EM_AARCH64}.write(t, at("foreign/libcached.so"))
	object{machine: amd64}.write(t, at("deep/libdeep.so"))
	object{machine: amd64, needed: []string{"libdeep.so"}}.write(t, at("both/libinherits.so"))
	object{machine: amd64, needed: []string{"libdeep.so"}, runpath: "$ORIGIN/../deep"}.write(t, at("both/libknows.so"))
	r := &Resolver{cache: map[string][]string{"libcached.so": {at("cache/libcached.so")}}}

	tests := []struct {
		name   string
		object object
		want   []string
		misses string
	}{
		{"cache", object{needed: []string{"libcached.so"}, interpreter: "/lib/ld.so"}, []string{"/lib/ld.so", at("cache/libcached.so")}, ""},
		{"runpath before the cache", object{needed: []string{"libcached.so"}, runpath: at("none") + ":" + at("both")}, []string{at("both/libcached.so")}, ""},
		{"another architecture is passed over", object{needed: []string{"libcached.so"}, runpath: at("foreign")}, []string{at("cache/libcached.so")}, ""},
		{"rpath is inherited", object{needed: []string{"libinherits.so"}, rpath: "${ORIGIN}/both:" + at("deep")}, []string{at("both/libinherits.so"), at("deep/libdeep.so")}, ""},
		{"runpath is not", object{needed: []string{"libinherits.so"}, runpath: at("both") + ":" + at("deep")}, nil, "libdeep.so"},
		{"a library's own runpath", object{needed: []string{"libknows.so"}, runpath: at("both")}, []string{at("both/libknows.so"), at("both/../deep/libdeep.so")}, ""},
		{"static", object{}, nil, ""},
	}
	for _, test := range tests {
		program := at("program")
		test.object.machine = amd64
		test.object.write(t, program)
		got, err := r.Needs(program)
		var missing *NotFoundError
		if test.misses != "" {
			if !errors.As(err, &missing) || missing.Library != test.misses {
				t.Errorf("%s: %v, want that %s is missing", test.name, err, test.misses)
			}
			continue
		}
		for i, path := range test.want {
			test.want[i] = filepath.Clean(path)
		}
		slices.Sort(test.want)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}

func TestScriptsNeedTheirInterpreter(t *testing.T) {
	dir := t.TempDir()
	interpreter := filepath.Join(dir, "bin/interpreter")
	object{machine: elf.EM_X86_64, interpreter: "/lib/ld.so"}.write(t, interpreter)
	env := filepath.Join(dir, "env")
	object{machine: elf.EM_X86_64}.write(t, env)
	t.Setenv("PATH", filepath.Dir(interpreter))
	tests := []struct{ text, want string }{
		{"#!" + interpreter + " -x\n", interpreter + " /lib/ld.so"},
		{"#! " + env + " -S interpreter -u\n", interpreter + " " + env + " /lib/ld.so"},
		{"no program\n", ""},
		{"", ""},
	}
	for _, test := range tests {
		script := filepath.Join(dir, "script")
		writeFile(t, script, test.text)
		want := strings.Fields(test.want)
		slices.Sort(want)
		if got, err := (&Resolver{}).Needs(script); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, want)
		}
		if got, err := (&Resolver{}).Libraries(script); err != nil || len(got) != 0 {
			t.Errorf("%q as data: %v, %v; want nothing", test.text, got, err)
		}
	}
}

func TestCacheIsParsed(t *testing.T) {
	const text = `2 libs found in cache '/etc/ld.so.cache'
	libz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1
	libz.so.1 (libc6) => /lib/i386-linux-gnu/libz.so.1
Cache generated by: ldconfig (Debian GLIBC) stable release version 2.36
`
	got := parseCache(strings.NewReader(text))
	want := []string{"/lib/x86_64-linux-gnu/libz.so.1", "/lib/i386-linux-gnu/libz.so.1"}
	if len(got) != 1 || !slices.Equal(got["libz.so.1"], want) {
		t.Errorf("got %v", got)
	}
}

// The shell of this host needs what ldd says.
func TestRealProgramNeedsWhatLddSays(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ldd", shell).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", shell, err)
	}
	got, err := NewResolver().Needs(shell)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		for _, field := range strings.Fields(line) {
			if strings.HasPrefix(field, "/") && !slices.Contains(got, field) {
				t.Errorf("%s is not among %v", field, got)
			}
		}
	}
}

func TestFilesFitAMachine(t *testing.T) {
	dir := t.TempDir()
	for name, machine := range map[string]elf.Machine{"x86": elf.EM_X86_64, "arm": elf.EM_AARCH64} {
		object{machine: machine}.write(t, filepath.Join(dir, name))
	}
	writeFile(t, filepath.Join(dir, "script"), "#!/bin/sh\n")
	writeFile(t, filepath.Join(dir, "empty"), "")
	for name, want := range map[string]bool{"x86": false, "arm": true, "script": true, "empty": true} {
		err := Fits(filepath.Join(dir, name), elf.EM_AARCH64)
		wrong := new(WrongMachineError)
		if fits := err == nil; fits != want || !fits && !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
