package recording

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Two writers into one file would write over each other's frames.
func TestSecondWriterIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name          string
		first, second FileOptions
	}{
		{"one file", FileOptions{}, FileOptions{}},
		{"rotates", FileOptions{MaxSize: 1}, FileOptions{}},
		{"comes to rotate", FileOptions{}, FileOptions{MaxSize: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace")
			first, err := Create(path, header(), tc.first)
			if err != nil {
				t.Fatal(err)
			}
			e := traffic1()
			for range 3 {
				if err := errors.Join(first.WriteEvent(e), first.Flush()); err != nil {
					t.Fatal(err)
				}
				if other, err := Create(path, header(), tc.second); !errors.Is(err, ErrBusy) {
					t.Fatalf("the second got %v, %v", other, err)
				}
				e.Time += 2 * second
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, damage, err := readAll(t, file); err != nil || len(damage) > 0 {
				t.Errorf("of the first is left: %v, %v", err, damage)
			}
			second, err := Create(path, header(), tc.second)
			if err != nil {
				t.Fatalf("after the first has ended: %v", err)
			}
			if err := second.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who has opened a part before it got its number, and comes to lock it when its
// writer has let go, would empty what was recorded.
func TestPartThatWasRenamedIsNotTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("recorded"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Rename(path, shelved(path, 1)); err != nil {
		t.Fatal(err)
	}
	if err := takeOver(file, path); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadFile(shelved(path, 1)); string(left) != "recorded" {
		t.Errorf("%q is left, %v", left, err)
	}
}
