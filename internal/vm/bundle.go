package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// debianPackages says where programs come from that tests use.
var debianPackages = map[string]string{
	"python3":      "python3-minimal and libpython3-stdlib",
	"nc":           "netcat-openbsd",
	"ss":           "iproute2",
	"ip":           "iproute2",
	"tc":           "iproute2",
	"nginx":        "nginx",
	"haproxy":      "haproxy",
	"redis-server": "redis-server",
	"java":         "default-jre-headless",
	"sh":           "dash",
	"strace":       "strace",
	"bpftool":      "bpftool",
	"bpftrace":     "bpftrace",
	"tcplife":      "libbpf-tools",
	"tcpstates":    "libbpf-tools",
	"tcptracer":    "libbpf-tools",
}

// MissingProgramError is a program that this host does not have.
type MissingProgramError struct{ Name, Package string }

func (e *MissingProgramError) Error() string {
	if e.Package == "" {
		return fmt.Sprintf("%s is not installed", e.Name)
	}
	return fmt.Sprintf("%s is not installed: install Debian's %s", e.Name, e.Package)
}

// systemDirs is where daemons are that are not on everybody's PATH.
var systemDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// Bundle returns what a run must bring along to use programs by their names:
// each at the place where the host has it, reachable by its name alone, with its
// libraries, python3 with its standard library, and java with its modules. The
// error is a *MissingProgramError.
func Bundle(ctx context.Context, names ...string) ([]File, error) {
	var files []File
	for _, name := range names {
		of, err := bundleOne(ctx, name)
		if err != nil {
			return nil, err
		}
		files = append(files, of...)
	}
	return files, nil
}

func bundleOne(ctx context.Context, name string) ([]File, error) {
	switch name {
	case "python3":
		return bundlePython(ctx)
	case "java":
		return bundleJava()
	}
	path, err := findProgram(name)
	if err != nil {
		return nil, err
	}
	return programFiles(name, path), nil
}

// programFiles is a program, once more on the guest's PATH if it is elsewhere.
func programFiles(name, path string) []File {
	files := []File{{Host: path, Libraries: true}}
	if !slices.Contains(strings.Split(basePath+":/bin:/sbin", ":"), filepath.Dir(path)) {
		files = append(files, File{Host: path, Guest: "/usr/local/bin/" + name})
	}
	return files
}

func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range systemDirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", &MissingProgramError{name, debianPackages[name]}
}

// skipOfPython is what tests need not of the standard library, at any depth.
var skipOfPython = []string{
	"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip",
	"lib2to3", "distutils", "site-packages", "dist-packages",
}

// bundlePython finds a real interpreter: the one on the PATH may be a script of
// a version manager.
func bundlePython(ctx context.Context) ([]File, error) {
	const system = "/usr/bin/python3"
	interpreter := system
	if _, err := os.Stat(system); err != nil {
		if interpreter, err = exec.LookPath("python3"); err != nil {
			return nil, &MissingProgramError{"python3", debianPackages["python3"]}
		}
	}
	const ask = `import sys, sysconfig, os; print(os.path.realpath(sys.executable)); print(sysconfig.get_path("stdlib")); print(sysconfig.get_path("platstdlib"))`
	out, err := exec.CommandContext(ctx, interpreter, "-I", "-c", ask).Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s where it is: %w", interpreter, err)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(answers) != 3 {
		return nil, errors.New("ask python3 where it is: it did not say")
	}
	real, library, platform := answers[0], answers[1], answers[2]
	if _, err := os.Stat(filepath.Join(library, "socket.py")); err != nil {
		return nil, &MissingProgramError{"python3's standard library", debianPackages["python3"]}
	}
	skip := func(rel string) bool {
		return slices.Contains(skipOfPython, filepath.Base(rel)) || strings.HasPrefix(filepath.Base(rel), "config-")
	}
	files := []File{
		{Host: real, Libraries: true},
		{Host: real, Guest: "/usr/bin/python3"},
		{Host: library, Skip: skip, Libraries: true},
	}
	if platform != library {
		files = append(files, File{Host: platform, Skip: skip, Libraries: true})
	}
	return files, nil
}

// skipOfJava is what Java's lib has for compilers, and for heaps above 32 GiB.
var skipOfJava = []string{"src.zip", "ct.sym", "classes_nocoops.jsa"}

// bundleJava brings the Java home that java on the PATH belongs to. The guest
// has it as /usr/local: java finds its home from its own place, which must be on
// the PATH.
func bundleJava() ([]File, error) {
	const guest = "/usr/local"
	program, err := findProgram("java")
	if err != nil {
		return nil, err
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return nil, err
	}
	home := filepath.Dir(filepath.Dir(program))
	// Its libraries know each other. What they need of the system, these need.
	files := []File{
		{Host: program, Guest: guest + "/bin/java", Libraries: true},
		{Host: filepath.Join(home, "lib/server/libjvm.so"), Guest: guest + "/lib/server/libjvm.so", Libraries: true},
	}
	for _, part := range []string{"lib", "conf"} {
		// Debian has links to /etc in it, which the guest has as files.
		links, err := linkedFiles(filepath.Join(home, part))
		if err != nil {
			return nil, &MissingProgramError{"java's home", debianPackages["java"]}
		}
		for _, rel := range links {
			files = append(files, File{Host: filepath.Join(home, part, rel), Guest: path.Join(guest, part, rel)})
		}
		files = append(files, File{Host: filepath.Join(home, part), Guest: path.Join(guest, part), Skip: func(rel string) bool {
			return slices.Contains(skipOfJava, filepath.Base(rel)) || slices.Contains(links, rel)
		}})
	}
	return files, nil
}

// linkedFiles are the links in a directory, at any depth, that lead to regular
// files, by their paths relative to it, except what Java skips.
func linkedFiles(dir string) ([]string, error) {
	var links []string
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != fs.ModeSymlink || slices.Contains(skipOfJava, d.Name()) {
			return err
		}
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			return nil // as of a package that is not installed
		}
		rel, err := filepath.Rel(dir, file)
		links = append(links, rel)
		return err
	})
	return links, err
}
