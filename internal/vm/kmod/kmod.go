// Package kmod resolves kernel modules and what they depend on, from the
// modules themselves: Debian's packages ship no modules.dep, depmod makes it
// when they are installed.
package kmod

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Module is one module, ready to be loaded.
type Module struct {
	Name    string // with underscores
	Content []byte // decompressed
}

// Index knows the modules of one kernel.
type Index struct {
	files   map[string]string // by name
	builtin map[string]bool
}

// MissingError says that a kernel has no such module.
type MissingError struct{ Name string }

func (e *MissingError) Error() string { return "this kernel has no module " + e.Name }

// Open indexes a directory as /lib/modules/RELEASE.
func Open(dir string) (*Index, error) {
	x := &Index{files: map[string]string{}, builtin: map[string]bool{}}
	list, err := os.Open(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("index modules: %w", err)
	}
	defer list.Close()
	if err := x.readBuiltin(list); err != nil {
		return nil, fmt.Errorf("index modules: %w", err)
	}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if name, ok := moduleName(path); ok {
				x.files[name] = path
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("index modules: %w", err)
	}
	return x, nil
}

// readBuiltin reads modules.builtin: one path of a module a line.
func (x *Index) readBuiltin(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if name, ok := moduleName(lines.Text()); ok {
			x.builtin[name] = true
		}
	}
	return lines.Err()
}

// moduleName is the name of the module in a file, which may be compressed.
func moduleName(path string) (string, bool) {
	base, _, ok := strings.Cut(filepath.Base(path), ".ko")
	return normal(base), ok
}

func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Resolve returns the modules and everything they depend on, in the order of
// loading. What is built into the kernel is left out. The error is a
// *MissingError for an unknown module.
func (x *Index) Resolve(names ...string) ([]Module, error) {
	var order []Module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = normal(name)
		if seen[name] || x.builtin[name] {
			return nil
		}
		seen[name] = true
		path, ok := x.files[name]
		if !ok {
			return &MissingError{name}
		}
		content, err := read(path)
		if err != nil {
			return err
		}
		depends, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("read module %s: %w", name, err)
		}
		for _, d := range depends {
			if err := add(d); err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
		}
		order = append(order, Module{name, content})
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Has says whether the kernel has a module, built in or not.
func (x *Index) Has(name string) bool {
	name = normal(name)
	return x.builtin[name] || x.files[name] != ""
}

// dependencies reads a module's own list of modules that it needs.
func dependencies(module []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseDepends(info), nil
}

// parseDepends finds depends=a,b among the NUL-terminated strings of .modinfo.
func parseDepends(info []byte) []string {
	var names []string
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			names = append(names, strings.Split(list, ",")...)
		}
	}
	return slices.Clip(names)
}

// decompressors by the end of the file name.
var decompressors = map[string][]string{
	".xz":  {"xz", "-dc"},
	".zst": {"zstd", "-dcq"},
	".gz":  {"gzip", "-dc"},
}

// read returns the module in a file.
func read(path string) ([]byte, error) {
	command, compressed := decompressors[filepath.Ext(path)]
	if !compressed {
		return os.ReadFile(path)
	}
	out, err := exec.Command(command[0], append(command[1:], path)...).Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s with %s: %w", path, command[0], err)
	}
	return out, nil
}
