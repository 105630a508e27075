// Package debian finds and downloads Debian's kernel packages with the
// machine's own apt, in directories of its own: it needs no privilege and
// leaves the system's package lists alone. The address of the archive is read
// from the machine's apt sources.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mainSuites and securitySuites are where kernels are looked for.
var (
	mainSuites     = []string{"bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports"}
	securitySuites = []string{"bullseye-security", "bookworm-security", "trixie-security"}
)

// keyrings hold the keys of Debian's archive, under the names that Debian's
// releases gave them. Without one, apt's own trusted keys count.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// Client runs apt in a directory of its own. Only one may use a directory at a
// time.
type Client struct {
	Dir  string // absolute; made by Update
	Arch string // Debian's name, as amd64
}

// ReadArchive reads the machine's apt sources.
func ReadArchive(ctx context.Context) (Archive, error) {
	etc, err := etcPaths(ctx)
	if err != nil {
		return Archive{}, err
	}
	files := []string{etc["list"]}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(etc["parts"], pattern))
		if err != nil {
			return Archive{}, fmt.Errorf("read apt's sources: %w", err)
		}
		files = append(files, more...)
	}
	var sources []source
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return Archive{}, fmt.Errorf("read apt's sources: %w", err)
		}
		parse := parseList
		if strings.HasSuffix(name, ".sources") {
			parse = parseDeb822
		}
		more, err := parse(bytes.NewReader(text))
		if err != nil {
			return Archive{}, fmt.Errorf("read %s: %w", name, err)
		}
		sources = append(sources, more...)
	}
	return chooseArchive(sources)
}

// etcPaths asks apt where its sources are.
func etcPaths(ctx context.Context) (map[string]string, error) {
	out, err := run(ctx, "", "apt-config", "shell",
		"list", "Dir::Etc::sourcelist/f", "parts", "Dir::Etc::sourceparts/d")
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		paths[name] = strings.Trim(value, "'")
	}
	return paths, nil
}

// Update fetches the package lists.
func (c *Client) Update(ctx context.Context) error {
	archive, err := ReadArchive(ctx)
	if err != nil {
		return err
	}
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "sources.list"), []byte(sourcesList(archive)), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "status"), nil, 0o644); err != nil {
		return err
	}
	_, err = c.apt(ctx, "", "apt-get", "update")
	return err
}

func sourcesList(a Archive) string {
	var options string
	for _, keyring := range keyrings {
		if _, err := os.Stat(keyring); err == nil {
			options = "[signed-by=" + keyring + "] "
			break
		}
	}
	var b strings.Builder
	for _, suite := range mainSuites {
		fmt.Fprintf(&b, "deb %s%s %s main\n", options, a.Main, suite)
	}
	for _, suite := range securitySuites {
		fmt.Fprintf(&b, "deb %s%s %s main\n", options, a.Security, suite)
	}
	return b.String()
}

// Kernels lists the kernel packages of a flavour, as "cloud-amd64", in the
// lists that Update fetched.
func (c *Client) Kernels(ctx context.Context, flavour string) ([]Package, error) {
	out, err := c.apt(ctx, "", "apt-cache", "search", "--names-only",
		"^linux-(image|binary|modules|base)-[0-9].*-"+flavour+"("+unsigned+")?$")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("apt's lists hold no linux-image package of the flavour %s", flavour)
	}
	slices.Sort(names)
	out, err = c.apt(ctx, "", "apt-cache", append([]string{"show"}, names...)...)
	if err != nil {
		return nil, err
	}
	return ParsePackages(bytes.NewReader(out))
}

// Download fetches the packages of a candidate and unpacks them into dir, which
// must exist.
func (c *Client) Download(ctx context.Context, k Candidate, dir string) error {
	packages, err := os.MkdirTemp(c.Dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(packages)
	args := []string{"download"}
	for _, name := range k.Packages {
		args = append(args, name+"="+k.Version)
	}
	if _, err := c.apt(ctx, packages, "apt-get", args...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return err
	}
	if len(files) != len(k.Packages) {
		return fmt.Errorf("apt-get download left %d packages, want %d", len(files), len(k.Packages))
	}
	for _, file := range files {
		if _, err := run(ctx, "", "dpkg", "-x", file, dir); err != nil {
			return err
		}
	}
	return nil
}

// apt runs an apt command on the private directories.
func (c *Client) apt(ctx context.Context, dir, command string, args ...string) ([]byte, error) {
	options := []string{
		"-q",
		"-o", "Dir::Etc::SourceList=" + filepath.Join(c.Dir, "sources.list"),
		"-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::Etc::Preferences=/dev/null",
		"-o", "Dir::Etc::PreferencesParts=/dev/null",
		"-o", "Dir::State::Lists=" + filepath.Join(c.Dir, "lists"),
		"-o", "Dir::State::Status=" + filepath.Join(c.Dir, "status"),
		"-o", "Dir::Cache=" + filepath.Join(c.Dir, "cache"),
		"-o", "APT::Architecture=" + c.Arch,
		"-o", "APT::Architectures=" + c.Arch,
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		// As root apt would change to a user who cannot read the cache of
		// this one.
		"-o", "APT::Sandbox::User=root",
	}
	return run(ctx, dir, command, append(options, args...)...)
}

// run returns what a command writes; the error holds what it complained about.
func run(ctx context.Context, dir, command string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: kernels are fetched with Debian's apt", err)
		}
		return nil, fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
