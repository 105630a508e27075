package cost

import (
	"bytes"
	"strings"
	"testing"

	"acceptwatch/internal/golden"
)

func example() Kernel {
	return Kernel{
		Kernel: "6.12.0-test", Clock: "tsc", Connections: 300, Batches: 10, Nothing: 70000,
		Whole: Costs{Empty: 310, Counting: 495, Event: 701, Others: 399},
		Hooks: []Hook{
			{Symbol: "takes", Runs: 1, Costs: Costs{Empty: 130, Counting: 300, Event: 500, Others: 200}, Uses: []Use{{"read", 6, 17}, {"ring", 0, 1}, {"add", 2, 2}, {"divide", 1, 1}}},
			{Symbol: "fails", Exit: true, Runs: 2, Costs: Costs{Empty: 180, Counting: 190, Event: 191, Others: 192}, Uses: []Use{{"read", 1, 1}}},
		},
		Unused:  []Hook{{Symbol: "closes"}, {Symbol: "moves", Exit: true}},
		Instead: []Hook{{Symbol: "changes", Runs: 9, Costs: Costs{Empty: 1160}}},
		Blocks:  []Block{{"read", "a member", 8.55}, {"add", "of 1", 2}, {"ring", "room", 90.25}, {"divide", "by 1000", 10.05}},
		Called:  128, Another: 20, HelperRead: 45.5,
	}
}

func TestPage(t *testing.T) {
	var b bytes.Buffer
	newer := example()
	newer.Kernel = "7.3.0-test"
	if err := WritePage(&b, []Kernel{example(), newer}); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "page.md", b.Bytes())
}

func TestBlocksExplainNoMoreThanWasMeasured(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Kernel)
		want   string // of the only problem; empty: none
	}{
		{"as it is", func(*Kernel) {}, ""},
		{"a count within the noise", func(k *Kernel) { k.Hooks[1].Uses[0] = Use{"read", 2, 2} }, ""},
		{"too many when counting", func(k *Kernel) { k.Hooks[0].Uses[2].Counting = 66 }, "takes, counting: the blocks explain 193 instructions, 170 were measured"},
		{"too many for an event", func(k *Kernel) { k.Hooks[0].Uses[0].Event = 40 }, "takes, an event: the blocks explain 446 instructions, 370 were measured"},
		{"a block that is not there", func(k *Kernel) { k.Hooks[1].Uses[0].Block = "wrote" }, `fails: block "wrote" was not measured`},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := example()
			test.change(&k)
			got := k.Problems()
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
