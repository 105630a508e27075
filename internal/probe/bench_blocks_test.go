//go:build kernelbench

package probe

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"acceptwatch/internal/cost"
)

// Blocks are what the programs are made of. Each is measured as many times in a
// row in a program on security_sock_graft, which a connection passes once, less
// the same program without it.

const blockTimes = 20

// block is one of them, with the moves that set its arguments.
type block struct {
	name, what string
	once       asm.Instructions
}

const (
	typedRead   = "typed read"
	clock       = "clock"
	threadID    = "thread id"
	commRead    = "name of the thread"
	arrayLookup = "array look-up"
	atomicAdd   = "atomic add"
	division    = "division"
	ringRecord  = "ring buffer"

	helperRead = "helper's read" // which they do not take
)

// uses is how often the programs take each block for a connection that is accepted
// at once, over IPv4, is the only one in its queue, and has sent nothing: counted
// along the handlers in bpf/, READ by READ, and compared with the instructions
// that the kernel made of them.
var uses = map[string][]cost.Use{
	// handle_inet_accept, note_seen, accepted, count_accept; event_fill.
	inetAccept: {
		{Block: typedRead, Counting: 5, Event: 16}, {Block: clock, Counting: 1, Event: 1}, {Block: threadID, Counting: 1, Event: 1},
		{Block: commRead, Event: 1}, {Block: arrayLookup, Counting: 3, Event: 3},
		{Block: atomicAdd, Counting: 2, Event: 2}, {Block: division, Counting: 1, Event: 1}, {Block: ringRecord, Event: 1},
	},
	// handle_graft, take_seen.
	sockGraft: {{Block: threadID, Counting: 1, Event: 1}, {Block: arrayLookup, Counting: 1, Event: 1}},
	// handle_child, handle_enqueue, depth_grown; the clock as the queue was empty.
	childProcess: {
		{Block: typedRead, Counting: 4, Event: 4}, {Block: clock, Counting: 1, Event: 1}, {Block: arrayLookup, Counting: 1, Event: 1},
		{Block: atomicAdd, Counting: 1, Event: 1},
	},
	// handle_fin: the state at both ends, and the socket at the server's.
	tcpFin: {{Block: typedRead, Counting: 3, Event: 3}},
	// queue_full.
	"tcp_conn_request":     {{Block: typedRead, Counting: 2, Event: 2}},
	"tcp_v4_syn_recv_sock": {{Block: typedRead, Counting: 2, Event: 2}},
}

// newBlocks makes the maps that the blocks are about, like those of the programs.
func newBlocks(t *testing.T) []block {
	t.Helper()
	seen := newMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 8192})
	comm := offsetIn(t, "task_struct", "comm")
	// Not read, and room for all records of all rounds.
	ring := newMap(t, &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 16 << 20})
	lookup := func(m *ebpf.Map, key int32) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, key),
			asm.LoadMapPtr(asm.R1, m.FD()), asm.FnMapLookupElem.Call(),
		}
	}
	return []block{
		{typedRead, "a member of a socket, whose address is checked", asm.Instructions{asm.LoadMem(asm.R0, asm.R6, offsetIn(t, "sock", "sk_ack_backlog"), asm.Word)}},
		{clock, "`bpf_ktime_get_ns`", asm.Instructions{asm.FnKtimeGetNs.Call()}},
		{threadID, "`bpf_get_current_task_btf`, and a member", asm.Instructions{
			asm.FnGetCurrentTaskBtf.Call(), asm.LoadMem(asm.R1, asm.R0, offsetIn(t, "task_struct", "pid"), asm.Word),
		}},
		{commRead, "the same, and its two ids and 16 bytes", asm.Instructions{
			asm.FnGetCurrentTaskBtf.Call(),
			asm.LoadMem(asm.R1, asm.R0, offsetIn(t, "task_struct", "pid"), asm.Word), asm.LoadMem(asm.R1, asm.R0, offsetIn(t, "task_struct", "tgid"), asm.Word),
			asm.LoadMem(asm.R1, asm.R0, comm, asm.DWord), asm.LoadMem(asm.R1, asm.R0, comm+8, asm.DWord),
		}},
		{arrayLookup, "`bpf_map_lookup_elem` in an array", lookup(seen, arrayKey)},
		{atomicAdd, "of 1, to a count", asm.Instructions{asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R7, asm.R1, asm.DWord)}},
		{division, "of 64 bits, ns to µs", asm.Instructions{asm.Mov.Imm(asm.R1, 1<<30), asm.Div.Imm(asm.R1, 1000)}},
		{ringRecord, "room for an event, and its hand-over, without waking user space", asm.Instructions{
			asm.LoadMapPtr(asm.R1, ring.FD()), asm.Mov.Imm(asm.R2, int32(unsafe.Sizeof(tracingEvent{}))), asm.Mov.Imm(asm.R3, 0), asm.FnRingbufReserve.Call(),
			asm.JEq.Imm(asm.R0, 0, noRoom),
			asm.Mov.Reg(asm.R1, asm.R0), asm.Mov.Imm(asm.R2, ringNoWakeup), asm.FnRingbufSubmit.Call(),
		}},
		{helperRead, "", asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, keys-16), asm.Mov.Imm(asm.R2, 16), asm.Mov.Reg(asm.R3, asm.R6), asm.FnProbeReadKernel.Call(),
		}},
	}
}

const (
	// The key on the stack of each program.
	arrayKey = -8
	keys     = -8 // all that is there

	noRoom       = "end"
	ringNoWakeup = 1 // BPF_RB_NO_WAKEUP
)

func newMap(t *testing.T, spec *ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m := must(ebpf.NewMap(spec))(t)
	t.Cleanup(func() { m.Close() })
	return m
}

func offsetIn(t *testing.T, name, member string) int16 {
	t.Helper()
	var of *btf.Struct
	check(t, must(btf.LoadKernelSpec())(t).TypeByName(name, &of))
	i := slices.IndexFunc(of.Members, func(m btf.Member) bool { return m.Name == member })
	if i < 0 {
		t.Fatalf("struct %s has no %s", name, member)
	}
	return int16(of.Members[i].Offset.Bytes())
}

const (
	noBlock     = "a program with no block"
	oneProgram  = "an empty program on " + sockGraft
	twoPrograms = "two of them"
)

func (b *block) setUp() string { return "block: " + b.name }

// blockSetUps begin with what the others are compared with.
func blockSetUps(t *testing.T, blocks []block) []setUp {
	t.Helper()
	empty := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	count := newMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	program := func(once asm.Instructions) []asm.Instructions {
		p := asm.Instructions{
			asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord), // the connection's socket
			asm.LoadMapValue(asm.R7, count.FD(), 0),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreMem(asm.RFP, arrayKey, asm.R1, asm.DWord),
		}
		for range blockTimes {
			p = append(p, once...)
		}
		return []asm.Instructions{append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol(noRoom), asm.Return())}
	}
	list := []setUp{
		{name: oneProgram, over: nothing, programs: []asm.Instructions{empty}},
		{name: twoPrograms, over: oneProgram, programs: []asm.Instructions{empty, empty}},
		{name: noBlock, over: oneProgram, programs: program(nil)},
	}
	for i := range blocks {
		list = append(list, setUp{name: blocks[i].setUp(), over: noBlock, programs: program(blocks[i].once)})
	}
	return list
}

// putOnGraft attaches programs to security_sock_graft.
func putOnGraft(t *testing.T, programs []asm.Instructions) (remove func()) {
	t.Helper()
	var removes []func()
	for _, instructions := range programs {
		prog := must(ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: sockGraft, License: "Dual MIT/GPL",
			Instructions: slices.Clone(instructions),
		}))(t)
		l := must(attachTo(sockGraft, tracing, prog))(t)
		removes = append(removes, func() {
			check(t, l.Close())
			check(t, prog.Close())
		})
	}
	return func() {
		for _, remove := range removes {
			remove()
		}
	}
}
