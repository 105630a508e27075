package vm

import (
	"bufio"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"acceptwatch/internal/vm/elfdeps"
	"acceptwatch/internal/vm/guest"
	"acceptwatch/internal/vm/initrd"
	"acceptwatch/internal/vm/kmod"
	"acceptwatch/internal/vm/qemu"
)

// channelModules drive the port to the host. Some kernels have them built in.
var channelModules = []string{"virtio_pci", "virtio_console"}

// defaultModules are loaded where a kernel has them: socket diagnostics, and
// what tests build networks of.
// Without the parameter, dummy makes a device when it is loaded.
var defaultModules = []string{"tcp_diag", "mptcp_diag", "unix_diag", "veth", "dummy numdummies=0", "sch_netem"}

// initPackage is the program that is init in the guest.
const initPackage = "acceptwatch/cmd/vmrun"

// writeInitramfs writes what the guest starts from: its base, init and what the
// run brings along, then the kernel's modules, which are kept in the cache.
func (r *Run) writeInitramfs(ctx context.Context, w io.Writer) error {
	tree := initrd.New()
	addBase(tree)
	init, done, err := r.findInit(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := tree.AddHost("/init", init); err != nil {
		return err
	}
	if err := r.addFiles(tree); err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	if _, err := tree.WriteTo(buffered); err != nil {
		return err
	}
	modules, err := moduleArchive(r.Kernel, slices.Concat(r.Modules, r.Disk.modules()))
	if err != nil {
		return err
	}
	if _, err := buffered.Write(modules); err != nil {
		return err
	}
	return buffered.Flush()
}

// addFiles adds what the run brings along.
func (r *Run) addFiles(tree *initrd.Tree) error {
	l := loader{tree, elfdeps.NewResolver(), qemu.Arches[r.Kernel.Arch].ELF}
	for _, f := range r.Files {
		if f.Host == "" {
			tree.AddFile(f.Guest, f.Mode, f.Data)
			continue
		}
		if err := l.addFile(f); err != nil {
			return fmt.Errorf("bring %s along: %w", f.Host, err)
		}
	}
	for _, binary := range r.Binaries {
		path, err := findProgram(binary)
		if err == nil {
			err = l.addFile(File{Host: path, Libraries: true})
		}
		if err != nil {
			return fmt.Errorf("bring %s along: %w", binary, err)
		}
	}
	const cache = "/etc/ld.so.cache" // names the directories of libraries
	if _, err := os.Stat(cache); err == nil {
		return tree.AddHost(cache, cache)
	}
	return nil
}

// loader adds files with what they need to run.
type loader struct {
	tree     *initrd.Tree
	resolver *elfdeps.Resolver
	machine  elf.Machine
}

func (l loader) addFile(f File) error {
	info, err := os.Stat(f.Host)
	if err != nil {
		return err
	}
	name := f.Guest
	if name == "" {
		name = f.Host
	}
	files, err := l.tree.AddHostTree(name, f.Host, f.skip)
	if err != nil || !f.Libraries {
		return err
	}
	needs := l.resolver.Needs
	if info.IsDir() {
		needs = l.resolver.Libraries
	}
	for _, file := range files {
		if err := elfdeps.Fits(file, l.machine); err != nil {
			return err
		}
		paths, err := needs(file)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := l.tree.AddHost(path, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleArchive returns the archive with a kernel's modules that init loads. It
// is kept in the cache, by what it depends on.
func moduleArchive(k Kernel, wanted []string) ([]byte, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	wanted = slices.Concat(channelModules, wanted)
	key := sha256.Sum256(fmt.Appendln(nil, "v2", k, wanted, defaultModules))
	name := filepath.Join(cache, "initramfs", fmt.Sprintf("%s-%s-%x.cpio", k.Arch, k.Version, key[:8]))
	if archive, err := os.ReadFile(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return archive, err
	}
	index, err := kmod.Open(k.Modules)
	if err != nil {
		return nil, err
	}
	for _, module := range defaultModules {
		if name, _, _ := strings.Cut(module, " "); index.Has(name) {
			wanted = append(wanted, module)
		}
	}
	var names []string
	parameters := map[string]string{}
	for _, module := range wanted {
		name, rest, _ := strings.Cut(module, " ")
		names = append(names, name)
		parameters[name] = rest
	}
	modules, err := index.Resolve(names...)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.Name, err)
	}
	tree := initrd.New()
	var list strings.Builder
	for _, m := range modules {
		path := "/lib/modules/" + m.Name + ".ko"
		tree.AddFile(path, 0o644, m.Content)
		fmt.Fprintln(&list, path, parameters[m.Name])
	}
	tree.AddFile(guest.ModuleList, 0o644, []byte(list.String()))
	var archive strings.Builder
	if _, err := tree.WriteTo(&archive); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return []byte(archive.String()), writeAtomically(name, []byte(archive.String()), 0o644)
}

// findInit returns the static vmrun that is init: the one given, this program
// if it is one, or else a new one built by the go command. Call done when it
// was read.
func (r *Run) findInit(ctx context.Context) (path string, done func(), err error) {
	nothing := func() {}
	if r.Init != "" {
		return r.Init, nothing, nil
	}
	if self, err := os.Executable(); err == nil && isStaticInit(self, r.Kernel.Arch) {
		return self, nothing, nil
	}
	dir, err := os.MkdirTemp("", "acceptwatch-init-")
	if err != nil {
		return "", nothing, err
	}
	done = func() { os.RemoveAll(dir) }
	path = filepath.Join(dir, "init")
	if err := buildStatic(ctx, r.Kernel.Arch, "build", "-trimpath", "-ldflags=-s -w", "-o", path, initPackage); err != nil {
		done()
		return "", nothing, fmt.Errorf("build the init of the guest: %w", err)
	}
	return path, done, nil
}

// isStaticInit says whether a file is vmrun, built for an architecture and
// without cgo.
func isStaticInit(path, arch string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil || info.Path != initPackage {
		return false
	}
	has := func(key, value string) bool {
		return slices.Contains(info.Settings, debug.BuildSetting{Key: key, Value: value})
	}
	return has("CGO_ENABLED", "0") && has("GOARCH", arch)
}

// buildStatic runs the go command without cgo.
func buildStatic(ctx context.Context, arch string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}
