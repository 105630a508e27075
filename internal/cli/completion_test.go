package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"acceptwatch/internal/netns"
	"acceptwatch/internal/owner"
)

// completed is what a shell is offered for the last of the words, and the
// directive.
func completed(t *testing.T, words ...string) (offers []string, directive string) {
	t.Helper()
	var out bytes.Buffer
	a := fakeApp(newFakeKernel(), &out)
	a.Err = new(bytes.Buffer)
	if code := a.run(context.Background(), append([]string{cobra.ShellCompRequestCmd}, words...)); code != exitDone {
		t.Fatalf("exit code %d: %s", code, a.Err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	last := len(lines) - 1
	return lines[:last], lines[last]
}

const (
	offersFiles = ":0"
	noFiles     = ":4"
	listed      = ":6" // and no space, as more may follow
	directories = ":16"
	ordered     = ":36"
)

func TestValuesAreCompleted(t *testing.T) {
	for _, test := range []struct {
		words     string // separated by a space; the last may be empty
		offers    []string
		directive string
	}{
		{"trace --mode ", []string{"auto", "fentry", "kprobe", "restricted"}, noFiles},
		{"diagnose --mode ", []string{"auto", "fentry", "kprobe", "restricted", "diag"}, noFiles},
		{"snapshot --mode ", []string{"auto", "walk", "diag"}, noFiles},
		{"snapshot -o ", []string{"text", "json"}, noFiles},
		{"version -o ", []string{"text", "json"}, noFiles},
		{"export x -f ", []string{"jsonl", "csv", "parquet", "perfetto", "text"}, noFiles},
		{"export x -o ", []string{}, offersFiles},
		{"trace --diagnose=", []string{"line", "full", "off"}, noFiles},
		{"trace --events ", kindNames(), listed},
		{"record --events stall,over", []string{"stall,overflow"}, listed},
		{"trace --port ", []string{"8000\tpython3"}, ordered},
		{"trace --addr ", []string{"127.0.0.1\tpython3"}, ordered},
		{"trace --pid ", []string{"123\tpython3 127.0.0.1:8000"}, ordered},
		{"trace --comm ", []string{"python3\t127.0.0.1:8000"}, ordered},
		{"trace --cgroup ", []string{}, directories},
		{"trace --duration ", []string{}, noFiles},
		{"trace ", []string{}, noFiles},
		{"record -- ", []string{}, offersFiles},
		{"report --html ", []string{}, offersFiles},
		{"completion ", []string{"bash", "zsh", "fish", "powershell"}, noFiles},
		{"help vers", []string{"version\tPrint the version of this program"}, noFiles},
	} {
		offers, directive := completed(t, strings.Split(test.words, " ")...)
		last := test.words[strings.LastIndexByte(test.words, ' ')+1:]
		// cobra leaves it to the shell to drop what does not begin as what is typed.
		var fit []string
		for _, o := range offers {
			if strings.HasPrefix(o, last) || strings.Contains(last, "=") {
				fit = append(fit, o)
			}
		}
		if diff := cmp.Diff(test.offers, append([]string{}, fit...)); diff != "" || directive != test.directive {
			t.Errorf("%q: directive %s, want %s\n%s", test.words, directive, test.directive, diff)
		}
	}
}

// What help says of a flag is what is completed, and must be a value for it.
func TestChoicesOfTheUsageAreFound(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			switch word, _ := pflag.UnquoteUsage(flag); word {
			case "mode", "format", "how", "kinds":
				found := choices(flag.Usage)
				if len(found) < 2 || flag.DefValue != "[]" && !strings.Contains(" "+strings.Join(found, " ")+" ", " "+flag.DefValue+" ") {
					t.Errorf("%s --%s: found %q in %q, default %s", cmd.Name(), flag.Name, found, flag.Usage, flag.DefValue)
				}
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand(fakeApp(newFakeKernel(), new(bytes.Buffer))))
}

func TestRecordingsAreCompletedByWhatIsInThem(t *testing.T) {
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	trace, err := os.ReadFile("../recording/testdata/v1.2.trace")
	check(err)
	for name, content := range map[string][]byte{
		"night.trace.1": trace, "no-ending": trace[:200], "page.trace": []byte(strings.Repeat("no recording ", 9)), "empty": nil, "other": trace[:20],
	} {
		check(os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	want := []string{dir + "/night.trace.1", dir + "/no-ending"}
	for _, words := range [][]string{{"report", dir + "/n"}, {"export", dir + "/n"}, {"trace", "-r", dir + "/n"}, {"top", "-r", dir + "/n"}} {
		if offers, directive := completed(t, words...); directive != noFiles || cmp.Diff(want, offers) != "" {
			t.Errorf("%q: directive %s\n%s", words, directive, cmp.Diff(want, offers))
		}
	}
	if offers, _ := completed(t, "report", dir+"/no-ending", dir+"/n"); len(offers) != 0 {
		t.Errorf("a second file for report: %q", offers)
	}
	check(os.Mkdir(filepath.Join(dir, "days"), 0o755))
	if offers, directive := completed(t, "report", dir+"/"); directive != listed || offers[0] != dir+"/days/" {
		t.Errorf("directory: %q, directive %s", offers, directive)
	}
}

func TestNamespacesAreOfferedByNameOrNumber(t *testing.T) {
	got := namespaceOffers([]netns.NS{
		{Inode: 4026531833, Path: "/proc/1/ns/net"}, {Inode: 4026532001, Path: "/run/netns/blue"}, {Inode: 4026532002, Path: "/run/docker/netns/1a2b"},
	})
	want := []string{"4026531833\t/proc/1/ns/net", "blue\tnet:[4026532001]", "4026532002\t/run/docker/netns/1a2b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Any process may call itself anything, and a shell shows it as it is.
func TestNamesThatATerminalWouldObeyAreNotOffered(t *testing.T) {
	a := fakeApp(newFakeKernel(), new(bytes.Buffer))
	a.env.owners = func(map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
		return map[uint32][]owner.Process{testInode: {{PID: 7, Comm: "x\x1b]0;y\a"}, {PID: 8, Comm: "a\tb"}, {PID: 9, Comm: "nginx"}}}, owner.Report{}, nil
	}
	cmd := new(cobra.Command)
	cmd.SetContext(t.Context())
	h := newHostCompletion(a)
	for name, test := range map[string]struct {
		complete cobra.CompletionFunc
		want     []string
	}{
		"--port": {h.ports, []string{"8000\ta?b, nginx, x?]0;y?"}},
		"--pid":  {h.processes, []string{"7\tx?]0;y? 127.0.0.1:8000", "8\ta?b 127.0.0.1:8000", "9\tnginx 127.0.0.1:8000"}},
		"--comm": {h.names, []string{"nginx\t127.0.0.1:8000"}},
	} {
		offers, _ := test.complete(cmd, nil, "")
		if diff := cmp.Diff(test.want, offers); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
