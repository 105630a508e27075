// Package initrd writes the initial file system of a guest: a cpio archive in
// the newc format, several of which may follow each other in one file (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst).
package initrd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// Tree is a file system to be. Its paths are the guest's, absolute. The guest
// has a merged /usr: what is put into /bin, /sbin, /lib or /lib64 goes to the
// directory of that name in /usr.
type Tree struct {
	entries map[string]entry
}

type entry struct {
	mode fs.FileMode // type and permissions
	link string      // of a symbolic link
	host string      // the file with the content, else
	data []byte
}

// merged are the top-level directories that are links into /usr.
var merged = []string{"bin", "sbin", "lib", "lib64", "lib32", "libx32"}

// New returns an empty tree.
func New() *Tree { return &Tree{map[string]entry{}} }

// AddMergedUsr adds the links that the paths of a tree rely on; the first
// archive of a guest needs them.
func (t *Tree) AddMergedUsr() {
	for _, name := range merged[:4] {
		t.AddDir("/usr/" + name)
		t.entries["/"+name] = entry{mode: fs.ModeSymlink | 0o777, link: "usr/" + name}
	}
}

// clean resolves the links of the merged /usr.
func clean(name string) string {
	name = path.Clean("/" + name)
	top, _, _ := strings.Cut(name[1:], "/")
	if slices.Contains(merged, top) {
		return "/usr" + name
	}
	return name
}

// AddDir adds a directory and its parents.
func (t *Tree) AddDir(name string) {
	for name = clean(name); name != "/"; name = path.Dir(name) {
		if _, ok := t.entries[name]; !ok {
			t.entries[name] = entry{mode: fs.ModeDir | 0o755}
		}
	}
}

func (t *Tree) add(name string, e entry) {
	name = clean(name)
	t.AddDir(path.Dir(name))
	t.entries[name] = e
}

// AddFile adds a file with the given content.
func (t *Tree) AddFile(name string, perm fs.FileMode, data []byte) {
	t.add(name, entry{mode: perm.Perm(), data: data})
}

// AddLink adds a symbolic link.
func (t *Tree) AddLink(name, target string) {
	t.add(name, entry{mode: fs.ModeSymlink | 0o777, link: target})
}

// Has says whether something was added under a name.
func (t *Tree) Has(name string) bool {
	_, ok := t.entries[clean(name)]
	return ok
}

// AddHost adds a file of the host, read when the tree is written. Links are
// followed: the guest gets the file under the name asked for.
func (t *Tree) AddHost(name, host string) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", host)
	}
	t.add(name, entry{mode: info.Mode().Perm(), host: host})
	return nil
}

// AddHostTree adds a file or a directory of the host with all that is in it,
// except where skip says so of a path relative to it. Links inside are kept as
// links. It returns the host's paths of the regular files added.
func (t *Tree) AddHostTree(name, host string, skip func(rel string) bool) ([]string, error) {
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		return nil, err
	}
	var files []string
	err = filepath.WalkDir(host, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, file)
		if err != nil {
			return err
		}
		if rel != "." && skip != nil && skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		guest := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			t.AddDir(guest)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			t.AddLink(guest, target)
		case d.Type().IsRegular():
			files = append(files, file)
			return t.AddHost(guest, file)
		}
		return nil
	})
	return files, err
}

// WriteTo writes the tree as one archive, padded so that another may follow.
func (t *Tree) WriteTo(w io.Writer) (int64, error) {
	counted := &counter{w: w}
	archive := cpio.NewWriter(counted)
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		if err := t.entries[name].write(archive, name); err != nil {
			return counted.n, fmt.Errorf("write %s into the initramfs: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return counted.n, fmt.Errorf("write the initramfs: %w", err)
	}
	const alignment = 512
	if rest := counted.n % alignment; rest != 0 {
		if _, err := counted.Write(make([]byte, alignment-rest)); err != nil {
			return counted.n, fmt.Errorf("write the initramfs: %w", err)
		}
	}
	return counted.n, nil
}

func (e entry) write(archive *cpio.Writer, name string) error {
	header := &cpio.Header{Name: name[1:], Links: 1}
	perm := cpio.FileMode(e.mode.Perm())
	switch {
	case e.mode.IsDir():
		header.Mode, header.Links = cpio.TypeDir|perm, 2
		return archive.WriteHeader(header)
	case e.mode&fs.ModeSymlink != 0:
		header.Mode, header.Linkname, header.Size = cpio.TypeSymlink|perm, e.link, int64(len(e.link))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(archive, e.link)
		return err
	case e.host == "":
		header.Mode, header.Size = cpio.TypeReg|perm, int64(len(e.data))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := archive.Write(e.data)
		return err
	}
	file, err := os.Open(e.host)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header.Mode, header.Size, header.ModTime = cpio.TypeReg|perm, info.Size(), info.ModTime()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.Copy(archive, io.LimitReader(file, info.Size()))
	if err == nil && n != info.Size() {
		err = errors.New("the file shrank meanwhile")
	}
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
