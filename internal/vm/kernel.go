package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/vm/debian"
	"acceptwatch/internal/vm/qemu"
)

// Spec is one kernel that can be asked for.
type Spec struct {
	Name   string // as people write it: 5.10, 6.1, 6.12, 7.x
	Series string // what its versions start with, before a dot
	Arch   string // Debian's name
}

// Matrix lists the kernels that acceptwatch is tested on, oldest first: those of
// Debian's releases from bullseye on, and the newest backport.
func Matrix() []Spec {
	return []Spec{
		{"5.10", "5.10", "amd64"},
		{"6.1", "6.1", "amd64"},
		{"6.12", "6.12", "amd64"},
		{"7.x", "7", "amd64"},
	}
}

// Foreign lists the kernels of another architecture. They are no part of the
// matrix, because every test would run there once more, and slower: who wants
// one names it. Before 6.4 (Linux, arch/arm64/Kconfig,
// DYNAMIC_FTRACE_WITH_DIRECT_CALLS) arm64 has no BTF trampolines.
func Foreign() []Spec {
	return []Spec{
		{"arm64-6.1", "6.1", "arm64"},
		{"arm64-7.x", "7", "arm64"},
	}
}

// Kernel is one kernel, unpacked in the cache.
type Kernel struct {
	Name    string // of its Spec
	Version string // the exact version of its Debian packages
	Arch    string
	Release string // uname -r
	Image   string // file
	Modules string // directory, as /lib/modules/RELEASE
}

// UnknownKernelError is a name that no kernel has.
type UnknownKernelError struct{ Name string }

func (e *UnknownKernelError) Error() string {
	var names []string
	for _, s := range slices.Concat(Matrix(), Foreign()) {
		names = append(names, s.Name)
	}
	return fmt.Sprintf("no kernel %q; there are %s and all", e.Name, strings.Join(names, ", "))
}

// Select returns the kernels with these names; "all" is the matrix, and so is
// none. The error is an *UnknownKernelError.
func Select(names ...string) ([]Spec, error) {
	if len(names) == 0 {
		return Matrix(), nil
	}
	known := slices.Concat(Matrix(), Foreign())
	var specs []Spec
	for _, name := range names {
		if name == "all" {
			specs = append(specs, Matrix()...)
			continue
		}
		i := slices.IndexFunc(known, func(s Spec) bool { return s.Name == name || s.Series == name })
		if i < 0 {
			return nil, &UnknownKernelError{name}
		}
		specs = append(specs, known[i])
	}
	return specs, nil
}

// CacheDir is where kernels are kept: $ACCEPTWATCH_CACHE, or acceptwatch in the
// user's cache directory.
func CacheDir() (string, error) {
	dir := os.Getenv("ACCEPTWATCH_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory: %w; set ACCEPTWATCH_CACHE", err)
		}
		dir = filepath.Join(user, "acceptwatch")
	}
	return filepath.Abs(dir)
}

// Find returns the kernels with these names, the matrix for none. What is not in the
// cache is fetched first; what is needs no network.
func Find(ctx context.Context, names ...string) ([]Kernel, error) {
	return Fetch(ctx, false, func(string) {}, names...)
}

// Cached returns the kernel of a spec without fetching it. The error is
// fs.ErrNotExist when the cache does not have it.
func Cached(s Spec) (Kernel, error) {
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	dir := kernelDir(cache, s)
	text, err := os.ReadFile(filepath.Join(dir, record))
	if err != nil {
		return Kernel{}, err
	}
	var k Kernel
	if err := json.Unmarshal(text, &k); err != nil {
		return Kernel{}, fmt.Errorf("read the record of kernel %s: %w", s.Name, err)
	}
	k.Image, k.Modules = filepath.Join(dir, k.Image), filepath.Join(dir, k.Modules)
	for _, path := range []string{k.Image, filepath.Join(k.Modules, builtinList)} {
		if _, err := os.Stat(path); err != nil {
			return Kernel{}, err
		}
	}
	return k, nil
}

// builtinList is the last thing that a complete kernel must have.
const builtinList = "modules.builtin"

// record names the kernel in use, with paths relative to its directory.
const record = "current.json"

func kernelDir(cache string, s Spec) string {
	return filepath.Join(cache, "kernels", s.Arch, s.Name)
}

// Fetch is Find with a say: refresh asks the archive for newer kernels even if
// there are some in the cache, and progress is called with one line for each
// thing that takes time.
func Fetch(ctx context.Context, refresh bool, progress func(string), names ...string) ([]Kernel, error) {
	specs, err := Select(names...)
	if err != nil {
		return nil, err
	}
	if !refresh {
		if kernels, err := cached(specs); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return kernels, err
		}
	}
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(cache)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f := fetcher{cache: cache, progress: progress, packages: map[string][]debian.Package{}}
	for _, s := range specs {
		// Somebody else may have fetched it while this waited for the lock.
		if _, err := Cached(s); err == nil && !refresh {
			continue
		}
		if err := f.fetch(ctx, s); err != nil {
			return nil, fmt.Errorf("fetch kernel %s: %w", s.Name, err)
		}
	}
	return cached(specs)
}

func cached(specs []Spec) ([]Kernel, error) {
	var kernels []Kernel
	for _, s := range specs {
		k, err := Cached(s)
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, k)
	}
	return kernels, nil
}

// lock keeps other processes from fetching into the same cache.
func lock(cache string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	return func() { file.Close() }, nil
}

// fetcher fetches kernels while it has the lock.
type fetcher struct {
	cache    string
	progress func(string)
	packages map[string][]debian.Package // by architecture
}

func (f *fetcher) fetch(ctx context.Context, s Spec) error {
	arch := qemu.Arches[s.Arch]
	client := &debian.Client{Dir: filepath.Join(f.cache, "apt", s.Arch), Arch: s.Arch}
	if f.packages[s.Arch] == nil {
		f.progress("fetching Debian's package lists for " + s.Arch)
		if err := client.Update(ctx); err != nil {
			return err
		}
		packages, err := client.Kernels(ctx, arch.Flavour)
		if err != nil {
			return err
		}
		f.packages[s.Arch] = packages
	}
	candidates := debian.Candidates(f.packages[s.Arch], s.Series, arch.Flavour)
	if len(candidates) == 0 {
		return fmt.Errorf("no %s package of the series %s is in Debian's archive", arch.Flavour, s.Series)
	}
	// The archive may list packages that it has deleted: the next will do.
	var failures error
	for _, c := range candidates {
		f.progress(fmt.Sprintf("fetching kernel %s: %s %s", s.Name, c.Packages[0], c.Version))
		err := f.unpack(ctx, client, s, c)
		if err == nil || ctx.Err() != nil {
			return err
		}
		f.progress(err.Error())
		failures = errors.Join(failures, err)
	}
	return failures
}

// unpack makes a candidate the kernel in use. Each version has its directory,
// so those who use another are not disturbed.
func (f *fetcher) unpack(ctx context.Context, client *debian.Client, s Spec, c debian.Candidate) error {
	dir := kernelDir(f.cache, s)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	final := filepath.Join(dir, c.Version)
	k, err := describe(final)
	if err != nil {
		unpacked, err := os.MkdirTemp(dir, "unpack-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(unpacked)
		if err := client.Download(ctx, c, unpacked); err != nil {
			return err
		}
		if k, err = describe(unpacked); err != nil {
			return err
		}
		if err := os.RemoveAll(final); err != nil { // incomplete
			return err
		}
		if err := os.Rename(unpacked, final); err != nil {
			return err
		}
	}
	k.Name, k.Version, k.Arch = s.Name, c.Version, s.Arch
	k.Image, k.Modules = filepath.Join(c.Version, k.Image), filepath.Join(c.Version, k.Modules)
	text, err := json.MarshalIndent(k, "", "\t")
	if err != nil {
		return err
	}
	return writeAtomically(filepath.Join(dir, record), text, 0o644)
}

// describe finds image and modules in an unpacked package, relative to it.
func describe(dir string) (Kernel, error) {
	first := func(patterns ...string) string {
		for _, pattern := range patterns {
			if names, err := filepath.Glob(filepath.Join(dir, pattern)); err == nil && len(names) > 0 {
				rel, _ := filepath.Rel(dir, names[0])
				return rel
			}
		}
		return ""
	}
	k := Kernel{
		Image:   first("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz"),
		Modules: filepath.Dir(first("lib/modules/*/"+builtinList, "usr/lib/modules/*/"+builtinList)),
	}
	if k.Image == "" || k.Modules == "." {
		return k, errors.New("the packages hold no kernel image, or no modules")
	}
	k.Release = filepath.Base(k.Modules)
	return k, nil
}

// writeAtomically puts data under a name in one step.
func writeAtomically(name string, data []byte, perm fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(perm), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
