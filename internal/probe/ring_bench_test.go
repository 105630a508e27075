package probe

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// producer fills a ring buffer as the programs do: the kernel runs it as often
// as it is told to, by a system call and for no connection.
type producer struct {
	program *ebpf.Program
	state   *ebpf.Map // an event, and how many found the ring full
	ring    *ebpf.Map
}

const lostAt = event.Size // of state

// newProducer needs what attaching needs, and no kind of attaching.
func newProducer(t testing.TB, ringSize int) *producer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root")
	}
	ring := must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(ringSize)}))(t)
	state := must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: event.Size + 8, MaxEntries: 1}))(t)
	t.Cleanup(func() { ring.Close(); state.Close() })
	e := event.Event{
		Kind: event.Accepted, ListenerID: 1, NetNS: 4026531840, Backlog: 4096, Family: unix.AF_INET, State: event.Established, PID: 100, TID: 101,
		Local: netip.MustParseAddrPort("10.0.0.1:8000"), Peer: netip.MustParseAddrPort("10.0.0.2:40000"), Comm: event.Comm{'n', 'g', 'i', 'n', 'x'},
	}
	check(t, state.Put(uint32(0), append(event.Append(nil, &e), make([]byte, 8)...)))
	program := must(ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual MIT/GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.R10, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, state.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.FnKtimeGetNs.Call(), // when, and 100 us after it was queued
			asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord),
			asm.Div.Imm(asm.R0, 1000), asm.Sub.Imm(asm.R0, 100),
			asm.StoreMem(asm.R7, 8, asm.R0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R7, 66, asm.Half), asm.Add.Imm(asm.R1, 1), // another port
			asm.StoreMem(asm.R7, 66, asm.R1, asm.Half),
			asm.LoadMapPtr(asm.R1, ring.FD()),
			asm.Mov.Reg(asm.R2, asm.R7), asm.Mov.Imm(asm.R3, event.Size), asm.Mov.Imm(asm.R4, unix.BPF_RB_NO_WAKEUP),
			asm.FnRingbufOutput.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.LoadMem(asm.R1, asm.R7, lostAt, asm.DWord), asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R7, lostAt, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	}))(t)
	t.Cleanup(func() { program.Close() })
	return &producer{program, state, ring}
}

// make makes n events as fast as one processor can.
func (p *producer) make(t testing.TB, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	must(p.program.Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: uint32(n)}))(t)
}

// lost is how many events found the ring full so far.
func (p *producer) lost(t testing.TB) uint64 {
	t.Helper()
	var value [event.Size + 8]byte
	check(t, p.state.Lookup(uint32(0), &value))
	var n uint64
	for i := 7; i >= 0; i-- {
		n = n<<8 | uint64(value[lostAt+i])
	}
	return n
}

// reader is a tracer of which only the ring is there.
func (p *producer) reader(t testing.TB) *Tracer {
	t.Helper()
	ring := must(ringbuf.NewReader(p.ring))(t)
	t.Cleanup(func() { ring.Close() })
	return &Tracer{plan: &Plan{}, ring: ring}
}

// BenchmarkDrain reads events out of a ring buffer of the kernel, and decodes
// them. An operation is one event.
func BenchmarkDrain(b *testing.B) {
	p := newProducer(b, defaultRing)
	tr := p.reader(b)
	const atATime = defaultRing / recordSize / 2
	seen := 0
	b.ReportAllocs()
	b.ResetTimer()
	for seen < b.N {
		b.StopTimer()
		p.make(b, min(atATime, b.N-seen))
		b.StartTimer()
		check(b, tr.drain(func(*event.Event) { seen++ }))
	}
	if lost := p.lost(b); lost > 0 {
		b.Fatalf("%d events were lost", lost)
	}
}

// BenchmarkOpen attaches in restricted mode, which this host need not allow
// more than, with all that a start does, and detaches.
func BenchmarkOpen(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("attaching needs root")
	}
	var attached time.Duration
	for b.Loop() {
		began := time.Now()
		tr := must(Open(Options{Mode: Restricted}))(b)
		check(b, tr.Walk())
		attached += time.Since(began)
		check(b, tr.Close())
	}
	b.ReportMetric(float64(attached.Milliseconds())/float64(b.N), "ms-to-attached")
}
