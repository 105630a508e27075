package peers

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/golden"
)

func example() *All {
	differs := int64(321)
	costs := func(kernel string, more int64) Costs {
		return Costs{Kernel: kernel, Packages: "tool 1.0-1", Connections: 1500, Nothing: 70000 + more, NothingMean: 73000 + more, NothingDiffers: 58, Rows: []Cost{
			{Name: "ours, counting", Command: "ours --count", Kernel: 1000 + more, Whole: 2000 + more, Process: 1000, Reported: 1500, ReportedRunning: 4500, MadeRunning: 4500},
			{Name: "ours, other port", Command: "ours --port 1", Kernel: 500 + more, Whole: 700 + more, MadeRunning: 4500},
			{Name: "theirs, in the kernel", Against: "ours, counting", Kernel: 2500 + more, InKernel: true, Reported: 1500, ReportedRunning: 4500, MadeRunning: 4500},
			{Name: "theirs, with lines", Command: "theirs | cat", Against: "ours, counting", Kernel: 20000 + more, KernelDiffers: &differs, Whole: 50000 + more, Process: 30000, Reported: 1500, ReportedRunning: 4321, MadeRunning: 4500},
			{Name: "theirs, broken", Command: "theirs <no>", Against: "ours, counting", NotMeasured: "it ended: exit status 1"},
		}}
	}
	return &All{
		Costs: []Costs{costs("6.1.0-test", 0), costs("7.3.4-test", 100)},
		Rates: []Rates{{Where: "a VM", Kernel: "6.1.0-test", Processors: 2, Batch: 2000, Rate: 12345, Rows: []Rate{
			{Name: "ours, counting", Mean: Ratio{1.051, 0.98, 1.1}, Typical: Ratio{1.02, 1.01, 1.03}, Pairs: 20, Made: 40200, Reported: 40200},
			{Name: "ours, other port", Mean: Ratio{1.01, 0.98, 1.05}, Typical: Ratio{1, 1, 1}, Pairs: 20},
			{Name: "theirs, broken", NotMeasured: "it ended: exit status 1"},
		}}},
	}
}

func TestOutputs(t *testing.T) {
	all := example()
	for name, write := range map[string]func(io.Writer) error{
		"peers.txt": all.WriteText, "peers.svg": all.WritePlot, "page.md": all.WritePage,
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden.Compare(t, name, b.Bytes())
	}
}

func TestRepeatKeepsTheLesser(t *testing.T) {
	low := Cost{Kernel: 10, Whole: 40, Process: 5, Reported: 8, ReportedRunning: 7, MadeRunning: 8}
	high := Cost{Kernel: 30, Whole: 50, Process: 9, Reported: 8, ReportedRunning: 6, MadeRunning: 8}
	for _, c := range []*Cost{&low, &high} {
		c.Name, c.Command, c.Against, c.InKernel = "peer", "peer --run", "trace", true
	}
	failed := Cost{Name: "peer", Command: "peer --run", Against: "trace", InKernel: true, NotMeasured: "gone"}
	want := low
	want.KernelDiffers = new(int64)
	*want.KernelDiffers = 20
	for _, c := range []struct {
		name                string
		first, second, want Cost
	}{
		{"the first is less", low, high, want},
		{"the second is less", high, low, want},
		{"the first failed", failed, low, failed},
		{"the second failed", low, failed, failed},
	} {
		c.first.Repeat(c.second)
		if diff := cmp.Diff(c.want, c.first); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestSubtract(t *testing.T) {
	for _, c := range []struct {
		name        string
		total, want Cost
	}{
		{"with a process", Cost{Kernel: 75000, Whole: 90000, Process: 9000}, Cost{Kernel: 5000, Whole: 15000, Process: 9000}},
		{"without one", Cost{Kernel: 75000, Whole: 90000, InKernel: true}, Cost{Kernel: 5000, InKernel: true}},
		{"not measured", Cost{NotMeasured: "gone"}, Cost{NotMeasured: "gone"}},
	} {
		if c.total.Subtract(70000, 75000); c.total != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, c.total, c.want)
		}
	}
}

// The page and the plot that are committed are those of the committed figures.
func TestPageIsOfItsFigures(t *testing.T) {
	f, err := os.Open("peers.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(io.Writer) error{"README.md": all.WritePage, "peers.svg": all.WritePlot} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s is not what peers.json gives: run go run ./internal/peers/peerpage, or make bench-peers", name)
		}
	}
}

func TestReadRefusesUnknownKeys(t *testing.T) {
	if _, err := Read(strings.NewReader(`{"costs": [], "ratios": []}`)); err == nil {
		t.Error("a key that means nothing was read without complaint")
	}
}
