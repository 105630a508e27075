package guest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"acceptwatch/internal/vm/wire"
)

func TestFilesAreSentByGlob(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{
		filepath.Join(dir, "a.txt"):        "a",
		filepath.Join(dir, "b.txt"):        "",
		filepath.Join(dir, "sub/c"):        string(bytes.Repeat([]byte("c"), 3*wire.Chunk+1)),
		filepath.Join(dir, "sub/deeper/d"): "d",
	}
	for name, content := range want {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	host := wire.NewWriter(&sent)
	for _, glob := range []string{"*.txt", "sub", "gone", "gone/*"} {
		if err := sendFiles(host, filepath.Join(dir, glob)); err != nil {
			t.Errorf("%s: %v", glob, err)
		}
	}
	if err := sendFiles(host, "["); err == nil {
		t.Error("a bad pattern is no error")
	}

	got := map[string]string{}
	var file wire.FileInfo
	for r := wire.NewReader(&sent); ; {
		f, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch f.Kind {
		case wire.File:
			if err := f.Decode(&file); err != nil {
				t.Fatal(err)
			}
			got[file.Path] = ""
		case wire.FileData:
			got[file.Path] += string(f.Payload)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %d bytes, want %d", name, len(got[name]), len(want[name]))
		}
	}
}

// A mount hides what was mounted below it before.
func TestParentsAreMountedFirst(t *testing.T) {
	for i, m := range mounts {
		for parent := filepath.Dir(m.target); parent != "/"; parent = filepath.Dir(parent) {
			later := func(n mount) bool { return n.target == parent }
			if slices.ContainsFunc(mounts[i:], later) {
				t.Errorf("%s is mounted before %s", m.target, parent)
			}
		}
	}
}

func TestEnvironmentIsSplitAtTheFirstEqualsSign(t *testing.T) {
	for in, want := range map[string][2]string{"A=b=c": {"A", "b=c"}, "A=": {"A", ""}, "A": {"A", ""}} {
		if name, value, _ := cutEnv(in); name != want[0] || value != want[1] {
			t.Errorf("%s: %q, %q", in, name, value)
		}
	}
}
