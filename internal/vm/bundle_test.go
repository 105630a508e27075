package vm

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/vm/initrd"
)

// A Java home as Debian makes it: its configuration is in /etc, with links to it.
func TestBundleBringsAJavaHome(t *testing.T) {
	dir := t.TempDir()
	home, etc := filepath.Join(dir, "jvm/java-17"), filepath.Join(dir, "etc")
	for name, mode := range map[string]fs.FileMode{
		home + "/bin/java": 0o755, home + "/bin/javac": 0o755, home + "/lib/server/libjvm.so": 0o644,
		home + "/lib/server/classes_nocoops.jsa": 0o644, home + "/lib/modules": 0o644, home + "/jmods/java.base.jmod": 0o644,
		etc + "/jvm.cfg": 0o644, etc + "/net.properties": 0o644,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir + "/bin", home + "/conf"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		dir + "/bin/java":              home + "/bin/java",
		home + "/lib/jvm.cfg":          etc + "/jvm.cfg",
		home + "/lib/missing":          etc + "/missing",
		home + "/lib/src.zip":          etc + "/jvm.cfg",
		home + "/conf/net.properties":  etc + "/net.properties",
		home + "/lib/libjsig.so":       "server/libjvm.so",
		home + "/lib/server/directory": etc,
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+"/bin")
	files, err := Bundle(t.Context(), "java")
	if err != nil {
		t.Fatal(err)
	}

	tree := initrd.New()
	run := Run{Files: files}
	if err := run.addFiles(tree); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if _, err := tree.WriteTo(&archive); err != nil {
		t.Fatal(err)
	}
	var got []string // the regular files
	for r := cpio.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(h.Name, "usr/local/"); ok && h.Mode.IsRegular() {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{"bin/java", "conf/net.properties", "lib/jvm.cfg", "lib/libjsig.so", "lib/modules", "lib/server/libjvm.so"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the guest's files of the home (-want +got):\n%s", diff)
	}
}
