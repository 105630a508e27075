// Package cost explains what tracing costs a connection: by hook, and by what the
// programs do there. It is pure; a test of internal/probe measures.
package cost

import "fmt"

// Kernel is what was measured on one kernel, in a guest of one processor that
// counts instructions. All costs are instructions per connection, or of one block.
type Kernel struct {
	Kernel      string `json:"kernel"`      // uname -r
	Clock       string `json:"clock"`       // the kernel's clock source, which bpf_ktime_get_ns reads
	Connections int    `json:"connections"` // in a batch, of which the median counts
	Batches     int    `json:"batches"`     // of which the least counts
	Nothing     int64  `json:"nothing"`     // the connection with nothing attached

	Whole   Costs   `json:"whole"`   // all hooks together
	Hooks   []Hook  `json:"hooks"`   // those that a connection passes, each alone
	Unused  []Hook  `json:"unused"`  // attached too, and not passed
	Instead []Hook  `json:"instead"` // older ones, with empty programs only
	Blocks  []Block `json:"blocks"`
	// Called is a function's entry with an empty program; Another is one more there.
	Called  int64 `json:"called"`
	Another int64 `json:"another"`
	// HelperRead is bpf_probe_read_kernel of 16 bytes, which no program uses.
	HelperRead float64 `json:"helper_read"`
}

// Costs are what each kind of program adds.
type Costs struct {
	Empty    int64 `json:"empty"` // a program that returns at once
	Counting int64 `json:"counting"`
	Event    int64 `json:"event"`  // counting, and an event
	Others   int64 `json:"others"` // --port of other connections
}

// Hook is what one kernel function costs.
type Hook struct {
	Symbol string `json:"symbol"`
	Exit   bool   `json:"exit,omitempty"` // where the function returns, not at its entry
	Runs   int64  `json:"runs"`           // per connection
	Costs
	Uses []Use `json:"uses,omitempty"`
}

// Use is how often a connection takes a block in a hook's program.
type Use struct {
	Block    string `json:"block"`
	Counting int    `json:"counting"` // times
	Event    int    `json:"event"`    // times when an event is made: those of counting, and more
}

// Block is something that programs do, and what it costs once.
type Block struct {
	Name         string  `json:"name"`
	What         string  `json:"what"`
	Instructions float64 `json:"instructions"`
}

// noise is by how many instructions blocks may explain more than was measured:
// medians differ by a few from run to run.
const noise = 10

// Problems says where the blocks cannot be right, a sentence each: together they
// would cost more than the program that they are parts of.
func (k *Kernel) Problems() []string {
	var problems []string
	for i := range k.Hooks {
		h := &k.Hooks[i]
		for _, u := range h.Uses {
			if k.block(u.Block) == nil {
				problems = append(problems, fmt.Sprintf("%s: block %q was not measured", h.Symbol, u.Block))
			}
		}
		for _, c := range []struct {
			name            string
			explained, most int64
		}{
			{"counting", k.explained(h, counting), h.Counting - h.Empty},
			{"an event", k.explained(h, event), h.Event - h.Empty},
		} {
			if c.explained > c.most+noise {
				problems = append(problems, fmt.Sprintf("%s, %s: the blocks explain %d instructions, %d were measured", h.Symbol, c.name, c.explained, c.most))
			}
		}
	}
	return problems
}

func (k *Kernel) block(name string) *Block {
	for i := range k.Blocks {
		if k.Blocks[i].Name == name {
			return &k.Blocks[i]
		}
	}
	return nil
}

func counting(u *Use) int { return u.Counting }
func event(u *Use) int    { return u.Event }

// explained is what the blocks of the hook cost, as often as times says.
func (k *Kernel) explained(h *Hook, times func(*Use) int) int64 {
	var sum float64
	for i := range h.Uses {
		if b := k.block(h.Uses[i].Block); b != nil {
			sum += float64(times(&h.Uses[i])) * b.Instructions
		}
	}
	return round(sum)
}

// Parts is the sum of the hooks, each measured alone.
func (k *Kernel) Parts() Costs {
	var sum Costs
	for i := range k.Hooks {
		c := &k.Hooks[i].Costs
		sum.Empty += c.Empty
		sum.Counting += c.Counting
		sum.Event += c.Event
		sum.Others += c.Others
	}
	return sum
}
