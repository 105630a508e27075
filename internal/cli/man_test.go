package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestEachCommandHasAManPageWithItsFlags(t *testing.T) {
	dir := t.TempDir()
	a := fakeApp(newFakeKernel(), new(bytes.Buffer))
	if code := a.run(t.Context(), []string{"man", dir}); code != exitDone {
		t.Fatalf("exit code %d: %s", code, a.Out)
	}
	root := newRootCommand(a)
	page := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, cmd := range subcommandsOf(root) {
		text := page("acceptwatch-" + cmd.Name())
		if !strings.Contains(page("acceptwatch"), "\\fB"+cmd.Name()+"\\fR") {
			t.Errorf("the page of the program does not list %s", cmd.Name())
		}
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(text, `\-\-`+strings.ReplaceAll(flag.Name, "-", `\-`)+`\fR`) {
				t.Errorf("the page of %s does not tell of --%s", cmd.Name(), flag.Name)
			}
		})
		for _, section := range []string{"NAME", "SYNOPSIS", `"DESCRIPTION"`, `"EXIT STATUS"`, `"SEE ALSO"`} {
			if !strings.Contains(text, "\n.SH "+section+"\n") {
				t.Errorf("the page of %s has no section %s", cmd.Name(), section)
			}
		}
		failOn := cmd.Flags().Lookup("fail-on") != nil
		if told := strings.Contains(text, `\fB4\fR`); told != failOn {
			t.Errorf("the page of %s tells of exit code 4: %t, and it has --fail-on: %t", cmd.Name(), told, failOn)
		}
	}
	if text := strings.Join(strings.Fields(page("acceptwatch-trace")), " "); !strings.Contains(text, "\\fB\\-\\-diagnose\\fR[=\\fIhow\\fR] ") || !strings.Contains(text, "(without a value: full; default: line).") {
		t.Errorf("the page of trace does not tell what --diagnose is without a value:\n%s", text)
	}
	for _, name := range []string{"TERM", "LC_ALL, LC_CTYPE, LANG"} {
		if told := "\n\\fB" + name + "\\fR\n"; !strings.Contains(page("acceptwatch-top"), told) || strings.Contains(page("acceptwatch-snapshot"), told) {
			t.Errorf("%s is for top, and is not told there, or elsewhere too", name)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1+len(subcommandsOf(root)) {
		t.Errorf("%d pages", len(files))
	}
}
