package probe

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
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
	state   *ebpf.Map // an event, and two counts: made, and found the ring full
	ring    *ebpf.Map
}

// Offsets in state.
const (
	madeAt    = event.Size
	lostAt    = event.Size + 8
	stateSize = event.Size + 16
)

// newProducer needs what attaching needs, and no kind of attaching.
func newProducer(t testing.TB, ringSize int) *producer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root")
	}
	ring := must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(ringSize)}))(t)
	state := must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: stateSize, MaxEntries: 1}))(t)
	t.Cleanup(func() { ring.Close(); state.Close() })
	e := event.Event{
		Kind: event.Accepted, ListenerID: 1, NetNS: 4026531840, Backlog: 4096, Family: unix.AF_INET, State: event.Established, PID: 100, TID: 101,
		Local: netip.MustParseAddrPort("10.0.0.1:8000"), Peer: netip.MustParseAddrPort("10.0.0.2:40000"), Comm: event.Comm{'n', 'g', 'i', 'n', 'x'},
	}
	check(t, state.Put(uint32(0), append(event.Append(nil, &e), make([]byte, stateSize-event.Size)...)))
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
			asm.LoadMem(asm.R1, asm.R7, madeAt, asm.DWord), asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R7, madeAt, asm.R1, asm.DWord),
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

// make makes n events as fast as one processor can, or a few more: the kernel
// begins again after a signal.
func (p *producer) make(t testing.TB, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	must(p.program.Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: uint32(n)}))(t)
}

// counts are how many events were made so far, and how many found the ring full.
func (p *producer) counts(t testing.TB) (made, lost uint64) {
	t.Helper()
	var value [stateSize]byte
	check(t, p.state.Lookup(uint32(0), &value))
	return binary.LittleEndian.Uint64(value[madeAt:]), binary.LittleEndian.Uint64(value[lostAt:])
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
	if _, lost := p.counts(b); lost > 0 {
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

// BenchmarkWalk looks into all queues of the host, and BenchmarkSample at all
// counts, as the restricted mode does ten times a second, and every mode each
// 5 s and five times a second.
func BenchmarkWalk(b *testing.B) {
	tr := benchTracer(b)
	for b.Loop() {
		check(b, tr.Walk())
		check(b, tr.drain(func(*event.Event) {}))
	}
}

func BenchmarkSample(b *testing.B) {
	tr := benchTracer(b)
	b.ReportAllocs()
	for b.Loop() {
		must(tr.Sample(false))(b)
	}
}

func benchTracer(b *testing.B) *Tracer {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("attaching needs root")
	}
	tr := must(Open(Options{Mode: Restricted}))(b)
	b.Cleanup(func() { check(b, tr.Close()) })
	return tr
}

// BenchmarkSampleOf reads the counts of so many listeners.
func BenchmarkSampleOf(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			if os.Geteuid() != 0 {
				b.Skip("attaching needs root")
			}
			tr := must(Open(Options{Mode: Restricted, Listeners: 2 * n}))(b)
			defer tr.Close()
			sockets, slots := make([]uint64, n), make([]uint32, n)
			for i := range n {
				sockets[i], slots[i] = uint64(1+i), uint32(firstEntry+i)
				l := tracingListener{Socket: sockets[i], Listed: 1, Id: uint64(1+i) << 10, Netns: 1, Family: unix.AF_INET, Backlog: 128, Accepted: 1}
				check(b, tr.coll.Maps[tracingMapEntries].Put(slots[i], &l))
			}
			must(tr.coll.Maps[tracingMapListeners].BatchUpdate(sockets, slots, nil))(b)
			b.ReportAllocs()
			for b.Loop() {
				must(tr.Sample(false))(b)
			}
		})
	}
}
