//go:build kernelbench

package stacks

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What watching costs the kernel, in instructions. It needs a guest of one
// processor that counts instructions as nanoseconds:
//
//	vmrun test -k 6.12,7.x --icount --tags kernelbench --timeout 25m ./internal/stacks -- -run TestKernelCost -timeout 2h

const (
	roundTrips = 1500 // of two switches each
	// The most that watching others may add to a switch, over an empty program.
	aimOthers = 60

	benchFrequency = 1000
	spins          = 40_000_000
	spinRepeats    = 7
)

// setUp is what is attached while switches and ticks are measured.
type setUp struct {
	name   string
	attach func(t *testing.T) (detach func())
}

func nothing(*testing.T) func() { return func() {} }

// emptySwitches attaches a program that returns at once.
func emptySwitches(t *testing.T) func() {
	t.Helper()
	prog := must(ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_switch", License: "Dual MIT/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}))(t)
	l := must(link.AttachTracing(link.TracingOptions{Program: prog}))(t)
	return func() {
		check(t, l.Close())
		check(t, prog.Close())
	}
}

func started(o Options) func(*testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		o := o
		if o.Threads != nil && o.Threads[0] == 0 {
			o.Threads = []int{unix.Gettid()}
		}
		s := must(Start(context.Background(), o))(t)
		if len(s.missing) > 0 {
			t.Fatal(s.missing)
		}
		return func() { check(t, s.Close()) }
	}
}

func TestKernelCost(t *testing.T) {
	if n := runtime.NumCPU(); n != 1 {
		t.Fatalf("%d processors: run this in a guest with --icount, which has one", n)
	}
	runtime.LockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	other := runPlace(t, true, "read").pid
	self := os.Getpid()

	costs := map[string]int64{}
	for _, s := range []setUp{
		{"nothing", nothing},
		{"empty program", emptySwitches},
		{"watching a thread of others", started(Options{Threads: []int{other}})},
		{"watching one of the two", started(Options{Threads: []int{0}})},
	} {
		detach := s.attach(t)
		costs[s.name+", per switch"] = measureSwitches(t) / 2
		detach()
	}
	base := measureSpin()
	costs["ticks of a spin"] = ticksOf(base)
	for _, s := range []setUp{
		{"sampling others", started(Options{Processes: []int{other}, Frequency: benchFrequency})},
		{"sampling this process", started(Options{Processes: []int{self}, Frequency: benchFrequency})},
	} {
		detach := s.attach(t)
		took := measureSpin()
		detach()
		costs[s.name+", per tick"] = int64(took-base) / ticksOf(took)
	}
	if added := costs["watching a thread of others, per switch"] - costs["empty program, per switch"]; added > aimOthers {
		t.Errorf("watching others adds %d instructions to a switch over an empty program, at most %d are meant to be", added, aimOthers)
	}
	fmt.Printf("\nbench-stacks: %s %s\n", must(os.ReadFile("/proc/sys/kernel/osrelease"))(t), must(json.MarshalIndent(costs, "", "  "))(t))
}

// measureSwitches returns the median of what a round trip to another thread and
// back takes, in ns. Both make bare system calls: Go's scheduler would take
// part in others.
func measureSwitches(t *testing.T) int64 {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	runtime.GC() // not later: the world does not stop while a thread is in a bare call
	var to, from [2]int
	check(t, unix.Pipe(to[:]))
	check(t, unix.Pipe(from[:]))
	go func() {
		runtime.LockOSThread()
		defer unix.Close(to[0])
		defer unix.Close(from[1])
		for transfer(unix.SYS_READ, to[0]) && transfer(unix.SYS_WRITE, from[1]) {
		}
	}()
	costs := make([]int64, roundTrips)
	begin := time.Now()
	before := time.Since(begin)
	for i := range costs {
		if !transfer(unix.SYS_WRITE, to[1]) || !transfer(unix.SYS_READ, from[0]) {
			t.Fatal("the other thread does not answer")
		}
		now := time.Since(begin)
		costs[i] = int64(now - before)
		before = now
	}
	unix.Close(to[1])
	unix.Close(from[0])
	slices.Sort(costs)
	return costs[len(costs)/2]
}

// transfer reads or writes one byte.
func transfer(call uintptr, fd int) bool {
	var b byte
	n, _, _ := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1)
	return n == 1
}

// measureSpin returns how long the same work takes: the shortest of several
// times, as whatever else runs meanwhile makes it longer.
func measureSpin() time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for range spinRepeats {
		begin := time.Now()
		for range spins {
			turns++
		}
		shortest = min(shortest, time.Since(begin))
	}
	return shortest
}

// ticksOf is how often the clock that samples goes off in a time.
func ticksOf(d time.Duration) int64 { return int64(d) * benchFrequency / int64(time.Second) }
