package collect

import (
	"os"
	"testing"
)

// A thread that ends while it is looked at was not refused.
func TestOnlyWhatIsRefusedIsCountedAsRefused(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(proc+"/7/task/7", 0o755); err != nil {
		t.Fatal(err)
	}
	c := newCollector(t.Context(), Listener{}, Options{}, procFS(proc), cgroupFS(proc))
	if c.sight(7, 8, "S"); c.refused != 0 {
		t.Errorf("of a thread that has ended, %d system calls were refused", c.refused)
	}
	if c.sight(7, 7, "S"); c.refused != 1 {
		t.Errorf("%d system calls were refused, want that of the thread that lives", c.refused)
	}
}
