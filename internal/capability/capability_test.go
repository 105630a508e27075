package capability

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMissing(t *testing.T) {
	all := Bits(Watching())
	for _, c := range []struct {
		name    string
		set     Set
		tracing bool
		missing string
	}{
		{"all", all, true, ""},
		{"none", 0, false, "BPF PERFMON SYS_PTRACE DAC_READ_SEARCH SYS_ADMIN"},
		{"root of old", all &^ Of(unix.CAP_BPF, unix.CAP_PERFMON), true, ""},
		{"tracing alone", Of(unix.CAP_BPF, unix.CAP_PERFMON), true, "SYS_PTRACE DAC_READ_SEARCH SYS_ADMIN"},
		{"half of tracing", all &^ Of(unix.CAP_PERFMON, unix.CAP_SYS_ADMIN), false, "PERFMON SYS_ADMIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var names []string
			for _, m := range c.set.Missing() {
				names = append(names, m.Short())
			}
			if got := strings.Join(names, " "); got != c.missing || c.set.Tracing() != c.tracing {
				t.Errorf("missing %q, tracing %v; want %q, %v", got, c.set.Tracing(), c.missing, c.tracing)
			}
		})
	}
}

// TestReadmeHasTheTable: what people read is what is asked for.
func TestReadmeHasTheTable(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| CAP_") {
			name, rest, _ := strings.Cut(strings.Trim(line, "|\n "), " | ")
			purpose, _, _ := strings.Cut(rest, " | ")
			rows = append(rows, name+": "+purpose)
		}
	}
	var want []string
	for _, c := range Watching() {
		want = append(want, c.Name+": "+c.For)
	}
	if !slices.Equal(rows, want) {
		t.Errorf("the README has %q, want %q", rows, want)
	}
}
