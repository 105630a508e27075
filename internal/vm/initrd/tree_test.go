package initrd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// list is a readable form of an archive.
func list(t *testing.T, archive []byte) string {
	t.Helper()
	var b strings.Builder
	for r := cpio.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return b.String()
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		kind := map[cpio.FileMode]string{cpio.TypeDir: "dir", cpio.TypeReg: "file", cpio.TypeSymlink: "link"}[h.Mode&cpio.ModeType]
		fmt.Fprintf(&b, "%-4s %04o %s %s%s\n", kind, h.Mode.Perm(), h.Name, h.Linkname, content)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o750); err != nil {
		t.Fatal(err)
	}
}

func TestArchiveHoldsTheTree(t *testing.T) {
	host := t.TempDir()
	write(t, filepath.Join(host, "program"), "run")
	write(t, filepath.Join(host, "library/a.py"), "a")
	write(t, filepath.Join(host, "library/test/b.py"), "b")
	write(t, filepath.Join(host, "library/json/c.py"), "c")
	if err := os.Symlink("a.py", filepath.Join(host, "library/link.py")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("program", filepath.Join(host, "alias")); err != nil {
		t.Fatal(err)
	}

	tree := New()
	tree.AddMergedUsr()
	tree.AddFile("/etc/hosts", 0o644, []byte("localhost"))
	if err := tree.AddHost("/bin/alias", filepath.Join(host, "alias")); err != nil {
		t.Fatal(err)
	}
	skip := func(rel string) bool { return filepath.Base(rel) == "test" }
	files, err := tree.AddHostTree("/lib/python", filepath.Join(host, "library"), skip)
	if err != nil || len(files) != 2 {
		t.Fatalf("added %v, %v; want 2 files", files, err)
	}
	if !tree.Has("/usr/lib/python/a.py") || !tree.Has("/lib/python/a.py") || tree.Has("/lib/python/test") {
		t.Error("Has is wrong about what was added")
	}
	var archive bytes.Buffer
	n, err := tree.WriteTo(&archive)
	if err != nil || n != int64(archive.Len()) || n%4 != 0 {
		t.Fatalf("wrote %d of %d bytes, %v", n, archive.Len(), err)
	}
	const want = `link 0777 bin usr/bin
dir  0755 etc 
file 0644 etc/hosts localhost
link 0777 lib usr/lib
link 0777 lib64 usr/lib64
link 0777 sbin usr/sbin
dir  0755 usr 
dir  0755 usr/bin 
file 0750 usr/bin/alias run
dir  0755 usr/lib 
dir  0755 usr/lib/python 
file 0750 usr/lib/python/a.py a
dir  0755 usr/lib/python/json 
file 0750 usr/lib/python/json/c.py c
link 0777 usr/lib/python/link.py a.py
dir  0755 usr/lib64 
dir  0755 usr/sbin 
`
	if got := list(t, archive.Bytes()); got != want {
		t.Errorf("archive:\n%s\nwant:\n%s", got, want)
	}
}

func TestOnlyFilesOfTheHostAreTaken(t *testing.T) {
	tree := New()
	if err := tree.AddHost("/x", t.TempDir()); err == nil {
		t.Error("a directory was taken for a file")
	}
	if err := tree.AddHost("/x", filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("a file that does not exist was added")
	}
}
