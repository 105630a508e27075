// Package elfdeps finds the files that a program needs to run: the interpreter
// of its ELF header or its #! line, and its shared libraries, looked for as
// ld.so(8) does.
package elfdeps

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// defaultDirs is where ld.so looks last. On Debian the cache names the rest.
var defaultDirs = []string{"/lib", "/usr/lib", "/lib64", "/usr/lib64"}

// Resolver finds shared libraries.
type Resolver struct {
	cache map[string][]string // paths by library name, from ld.so's cache
}

// NewResolver reads ld.so's cache by ldconfig -p. A system without ldconfig has
// an empty one.
func NewResolver() *Resolver {
	path, err := exec.LookPath("ldconfig")
	if err != nil {
		path = "/sbin/ldconfig" // not on everybody's PATH
	}
	out, err := exec.Command(path, "-p").Output()
	if err != nil {
		return &Resolver{}
	}
	return &Resolver{parseCache(bytes.NewReader(out))}
}

// parseCache reads lines as "libc.so.6 (libc6,x86-64) => /lib/libc.so.6".
func parseCache(r io.Reader) map[string][]string {
	cache := map[string][]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		left, path, ok := strings.Cut(strings.TrimSpace(lines.Text()), " => ")
		name, _, named := strings.Cut(left, " ")
		if ok && named {
			cache[name] = append(cache[name], path)
		}
	}
	return cache
}

// NotFoundError is a library that the linker would not find either.
type NotFoundError struct{ Library, NeededBy string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("the library %s, which %s needs, is not installed", e.Library, e.NeededBy)
}

// WrongMachineError is a program for another architecture than the one that is
// to run it.
type WrongMachineError struct {
	Path      string
	Has, Want elf.Machine
}

func (e *WrongMachineError) Error() string {
	return fmt.Sprintf("%s is for %v, and cannot run on %v", e.Path, e.Has, e.Want)
}

// Fits says whether the machine can run a file, as far as its ELF header tells:
// what has none is a script or no program. The error is a *WrongMachineError
// where it cannot.
func Fits(path string, machine elf.Machine) error {
	file, err := elf.Open(path)
	if format := new(elf.FormatError); errors.As(err, &format) || errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	defer file.Close()
	if file.Machine != machine {
		return &WrongMachineError{path, file.Machine, machine}
	}
	return nil
}

// Needs returns what the file needs to run, sorted, without itself: nothing for
// a static binary and for a file that is no program.
func (r *Resolver) Needs(path string) ([]string, error) {
	found := map[string]bool{}
	if err := r.needs(path, found); err != nil {
		return nil, err
	}
	return others(found, path), nil
}

// Libraries is Needs for a file that is not run itself, as a Python extension
// module: the first line of a script does not count.
func (r *Resolver) Libraries(path string) ([]string, error) {
	found := map[string]bool{}
	if err := r.libraries(path, nil, found); err != nil {
		return nil, err
	}
	return others(found, path), nil
}

func others(found map[string]bool, path string) []string {
	delete(found, path)
	return slices.Sorted(maps.Keys(found))
}

func (r *Resolver) needs(path string, found map[string]bool) error {
	interpreters, isScript, err := shebang(path)
	if err != nil {
		return err
	}
	if isScript {
		for _, interpreter := range interpreters {
			if !found[interpreter] {
				found[interpreter] = true
				if err := r.needs(interpreter, found); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return r.libraries(path, nil, found)
}

// libraries adds the libraries of an ELF file. Inherited are the RPATHs of what
// loaded it.
func (r *Resolver) libraries(path string, inherited []string, found map[string]bool) error {
	file, err := elf.Open(path)
	if format := new(elf.FormatError); errors.As(err, &format) || errors.Is(err, io.EOF) {
		return nil // no program, or an empty file
	} else if err != nil {
		return err
	}
	defer file.Close()

	if interpreter := interpreterOf(file); interpreter != "" {
		found[interpreter] = true
	}
	needed, err := file.ImportedLibraries()
	if err != nil || len(needed) == 0 {
		return nil // no dynamic section: static
	}
	rpath, runpath := searchPath(file, elf.DT_RPATH, path), searchPath(file, elf.DT_RUNPATH, path)
	if len(runpath) == 0 {
		inherited = slices.Concat(rpath, inherited)
	}
	for _, name := range needed {
		library := r.find(name, file, inherited, runpath)
		if library == "" {
			return &NotFoundError{name, path}
		}
		if found[library] {
			continue
		}
		found[library] = true
		if err := r.libraries(library, inherited, found); err != nil {
			return err
		}
	}
	return nil
}

// find looks for a library in ld.so's order, and takes the first that fits the
// architecture.
func (r *Resolver) find(name string, file *elf.File, rpath, runpath []string) string {
	if strings.Contains(name, "/") {
		return name
	}
	var candidates []string
	in := func(dirs []string) {
		for _, dir := range dirs {
			candidates = append(candidates, filepath.Join(dir, name))
		}
	}
	if len(runpath) == 0 {
		in(rpath)
	}
	in(runpath)
	candidates = append(candidates, r.cache[name]...)
	in(defaultDirs)
	for _, candidate := range candidates {
		library, err := elf.Open(candidate)
		if err != nil {
			continue
		}
		fits := library.Machine == file.Machine && library.Class == file.Class
		library.Close()
		if fits {
			return candidate
		}
	}
	return ""
}

// searchPath reads DT_RPATH or DT_RUNPATH, with $ORIGIN replaced.
func searchPath(file *elf.File, tag elf.DynTag, path string) []string {
	values, err := file.DynString(tag)
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	origin := strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path))
	var dirs []string
	for _, value := range values {
		for dir := range strings.SplitSeq(value, ":") {
			if dir != "" {
				dirs = append(dirs, origin.Replace(dir))
			}
		}
	}
	return dirs
}

func interpreterOf(file *elf.File) string {
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err == nil {
				return string(bytes.TrimRight(name, "\x00"))
			}
		}
	}
	return ""
}

// shebang returns the programs that a script's first line names: for env(1) both
// it and what it runs.
func shebang(path string) (programs []string, isScript bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	line, err := bufio.NewReaderSize(file, 4096).ReadSlice('\n')
	if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
		return nil, false, err
	}
	text, isScript := strings.CutPrefix(string(line), "#!")
	fields := strings.Fields(text)
	if !isScript || len(fields) == 0 {
		return nil, isScript, nil
	}
	programs = fields[:1]
	if filepath.Base(fields[0]) != "env" {
		return programs, true, nil
	}
	for _, argument := range fields[1:] {
		if strings.HasPrefix(argument, "-") || strings.Contains(argument, "=") {
			continue
		}
		program, err := exec.LookPath(argument)
		if err != nil {
			return nil, true, fmt.Errorf("find the interpreter of %s: %w", path, err)
		}
		return append(programs, program), true, nil
	}
	return programs, true, nil
}
