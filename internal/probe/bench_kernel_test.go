//go:build kernelbench

package probe

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/preflight"
)

// What tracing adds to a connection, in instructions of the kernel. It needs a
// guest of one processor that counts instructions as nanoseconds:
//
//	vmrun test -k 6.12,7.x --icount --tags kernelbench ./internal/probe -- -run TestKernelCost -timeout 2h
//
// The time limit is the guest's, whose time runs faster than the host's.
//
// Every set-up sees the same connections from the same state: a minute passes
// before each, so that no TIME_WAIT socket is left of the one before (guest
// time passes at once when nothing runs), and nothing else runs meanwhile: the
// ring is large enough and not read, no queue is walked. The kernel's timer
// ticks fall on one connection in about seventy, which the median leaves out.

const (
	connections = 1500 // per set-up
	rounds      = 2    // of all set-ups; they should tell the same

	// The most that tracing may add to the same hooks with empty programs, in
	// instructions per connection.
	aimCounting = 750
	aimEvent    = 1250

	benchPort  = 8000
	timeWaited = 61 * time.Second // longer than TIME_WAIT lasts (TCP_TIMEWAIT_LEN, include/net/tcp.h)
)

// setUp is what is attached while connections are measured.
type setUp struct {
	name string
	over string // the set-up that it is compared with; empty: none
	aim  int    // at most so many instructions more than that; 0: no aim

	hooks   func(hook) bool // nil: none
	empty   bool            // programs that return at once
	options Options
}

func all(hook) bool { return true }

func without(symbol string) func(hook) bool {
	return func(h hook) bool { return h.symbol != symbol }
}

func justOn(symbol string) func(hook) bool {
	return func(h hook) bool { return h.symbol == symbol }
}

// setUps are those that everyone asks about, and two for each hook: all but it,
// and an empty program on it alone.
func setUps(p *Plan) []setUp {
	const nothing, emptyHooks, eventMade = "nothing attached", "empty hooks", "an event per connection"
	list := []setUp{
		{name: nothing},
		{name: emptyHooks, hooks: all, empty: true},
		{name: "counting only", over: emptyHooks, aim: aimCounting, hooks: all, options: Options{Kinds: []event.Kind{}}},
		{name: eventMade, over: emptyHooks, aim: aimEvent, hooks: all},
		{name: "--port of others", over: emptyHooks, hooks: all, options: Options{Filter: onPort(benchPort + 1)}},
		{name: "--port of these", over: emptyHooks, hooks: all, options: Options{Filter: onPort(benchPort)}},
	}
	for _, h := range p.hooks {
		if h.optional {
			list = append(list, setUp{name: "an event, without " + h.symbol, over: eventMade, hooks: without(h.symbol)})
		}
		list = append(list, setUp{name: "empty, only " + h.symbol, over: nothing, hooks: justOn(h.symbol), empty: true})
	}
	return list
}

// put attaches the set-up; the returned function detaches it.
func (s *setUp) put(t *testing.T, features *preflight.Features) func() {
	t.Helper()
	if s.hooks == nil {
		return func() {}
	}
	p := must(MakePlan(features, Fentry))(t)
	p.hooks = slices.DeleteFunc(p.hooks, func(h hook) bool { return h.forMPTCP || !s.hooks(h) })
	p.walk = ""
	var coll *loaded
	if s.empty {
		coll = must(loadEmpty(p))(t)
	} else {
		coll = must(load(p, &s.options, chooseSizes(&s.options, 0, os.Getpagesize())))(t)
	}
	links := must(attach(p, coll, nil))(t)
	if len(links) != len(p.hooks) {
		t.Fatalf("%s: %v", s.name, p.Limits)
	}
	return func() {
		s.verify(t, coll)
		check(t, detach(links))
		coll.Close()
	}
}

// verify fails when the programs did not do what was measured: count every
// connection, and make an event of it where asked.
func (s *setUp) verify(t *testing.T, coll *loaded) {
	t.Helper()
	if s.empty {
		return
	}
	c := newCounts(coll.Collection)
	sample := must(c.read(false))(t)
	var accepted uint64
	for _, l := range sample.Listeners {
		accepted += l.Accepted
	}
	want := uint64(connections)
	if len(s.options.Filter.Ports) > 0 && s.options.Filter.Ports[0].First != benchPort {
		want = 0
	}
	if accepted != want {
		t.Errorf("%s: %d connections were counted, want %d", s.name, accepted, want)
	}
	var losses [tracingLossLOSS_KINDS]uint64
	check(t, coll.Variables[tracingVarLosses].Get(&losses))
	if losses != ([tracingLossLOSS_KINDS]uint64{}) {
		t.Errorf("%s: losses %v", s.name, losses)
	}
}

// loadEmpty loads a program that returns 0 for each hook of the plan, attached
// in the same way to the same function.
func loadEmpty(p *Plan) (*loaded, error) {
	l := &loaded{spec: func(from object) (*ebpf.CollectionSpec, error) {
		ours, err := specOf(from)
		if err != nil {
			return nil, err
		}
		empty := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{}}
		for name, like := range ours.Programs {
			empty.Programs[name] = &ebpf.ProgramSpec{
				Name:         name,
				Type:         like.Type,
				AttachType:   like.AttachType,
				AttachTo:     like.AttachTo,
				License:      like.License,
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
			}
		}
		return empty, nil
	}}
	return l, l.loadTogether(p)
}

// measure makes the connections and returns the median of their costs in ns.
func measure(t *testing.T) int64 {
	t.Helper()
	l := newTraffic(t, [4]byte{127, 0, 0, 1}, benchPort)
	defer l.close()
	costs := make([]int64, connections)
	l.make(costs)
	slices.Sort(costs)
	return costs[len(costs)/2]
}

// traffic makes connections to a listener of its own.
type traffic struct {
	*server
	to unix.RawSockaddrInet4
}

func newTraffic(t *testing.T, addr [4]byte, port uint16) *traffic {
	t.Helper()
	l := &traffic{server: listen(t, netip.AddrPortFrom(netip.AddrFrom4(addr), port).String(), 128)}
	l.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr}
	*(*[2]byte)(unsafe.Pointer(&l.to.Port)) = [2]byte{byte(port >> 8), byte(port)}
	return l
}

// make makes as many connections as there are costs, one at a time, and writes
// what each took, in ns. It makes bare system calls: Go's scheduler would take part
// in others.
func (l *traffic) make(costs []int64) {
	l.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	start := time.Now()
	before := time.Since(start)
	for i := range costs {
		if errno := connectAndAccept(l.fd, &l.to); errno != 0 {
			l.t.Fatal("make a connection:", errno)
		}
		now := time.Since(start)
		costs[i] = int64(now - before)
		before = now
	}
}

// connectAndAccept connects to the listener, accepts and closes both ends, the
// client first.
func connectAndAccept(listener int, to *unix.RawSockaddrInet4) unix.Errno {
	client, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CONNECT, client, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to)); errno != 0 {
		return errno
	}
	accepted, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CLOSE, client, 0, 0); errno != 0 {
		return errno
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CLOSE, accepted, 0, 0)
	return errno
}

// cost is what is printed and, as JSON, found again by a program. Instructions
// per connection, all of them; Rounds are the medians, of which Total is the least.
type cost struct {
	SetUp       string  `json:"setup"`
	Total       int64   `json:"total"`
	OverNothing int64   `json:"over_nothing"`
	OverEmpty   int64   `json:"over_empty_hooks"`
	Over        string  `json:"over,omitempty"` // another set-up
	OverThat    int64   `json:"over_that,omitempty"`
	Aim         int     `json:"aim,omitempty"` // of over_that
	Rounds      []int64 `json:"rounds"`
}

func TestKernelCost(t *testing.T) {
	requireInstructionCount(t)
	features := preflight.Detect()
	plan := must(MakePlan(features, Fentry))(t)
	list := setUps(plan)
	costs := make([]cost, len(list))
	for range rounds {
		for i := range list {
			remove := list[i].put(t, features)
			time.Sleep(timeWaited)
			median := measure(t)
			remove()
			costs[i].Rounds = append(costs[i].Rounds, median)
		}
	}
	by := map[string]int64{}
	for i := range list {
		c := &costs[i]
		c.SetUp, c.Over, c.Aim = list[i].name, list[i].over, list[i].aim
		c.Total = slices.Min(c.Rounds)
		by[c.SetUp] = c.Total
	}
	for i := range costs {
		c := &costs[i]
		c.OverNothing, c.OverEmpty = c.Total-costs[0].Total, c.Total-costs[1].Total
		if c.Over != "" {
			c.OverThat = c.Total - by[c.Over]
		}
		if c.Aim != 0 && c.OverThat > int64(c.Aim) {
			t.Errorf("%s adds %d instructions per connection to %s, at most %d are meant to be", c.SetUp, c.OverThat, c.Over, c.Aim)
		}
	}
	printCosts(t, plan, costs)
}

// requireInstructionCount fails where a nanosecond is no instruction: with more
// than one processor, the guest does not count them.
func requireInstructionCount(t *testing.T) {
	t.Helper()
	if n := runtime.NumCPU(); n != 1 {
		t.Fatalf("%d processors: run this in a guest with --icount, which has one", n)
	}
}

func printCosts(t *testing.T, p *Plan, costs []cost) {
	t.Helper()
	kernel := strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))(t)))
	version := strings.TrimSpace(string(must(os.ReadFile("/proc/version"))(t)))
	clock := strings.TrimSpace(string(must(os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource"))(t)))
	fmt.Printf("\n%s\nclock %s; mode %s on %s\n\n", version, clock, p.Mode, strings.Join(p.Hooks(), ", "))
	fmt.Printf("instructions per connection, median of %d, least of %d rounds\n", connections, rounds)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "total\tover nothing\tover empty hooks\taim\trounds differ by\t set-up\t")
	for _, c := range costs {
		aim := ""
		if c.Aim != 0 {
			aim = fmt.Sprintf("<= %d", c.Aim)
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%d\t %s\t\n", c.Total, c.OverNothing, c.OverEmpty, aim, slices.Max(c.Rounds)-c.Total, c.SetUp)
	}
	w.Flush()
	line := must(json.Marshal(struct {
		Kernel      string `json:"kernel"`
		Connections int    `json:"connections"`
		Costs       []cost `json:"costs"`
	}{kernel, connections, costs}))(t)
	fmt.Printf("\nbench-kernel: %s\n", line)
}
