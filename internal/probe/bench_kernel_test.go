//go:build kernelbench

package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"acceptwatch/internal/event"
	"acceptwatch/internal/preflight"
)

// What tracing adds to a connection, in instructions of the kernel. It needs a
// guest of one processor that counts instructions as nanoseconds:
//
//	vmrun test -k 6.12,7.x --icount --tags kernelbench ./internal/probe -- -run TestKernelCost -timeout 12h
//
// The time limit is the guest's, whose time runs faster than the host's.
//
// Every set-up sees the same connections from the same states: a minute passes
// before each batch, so that no TIME_WAIT socket is left of the one before (guest
// time passes at once when nothing runs), and nothing else runs meanwhile: the
// ring is large enough and not read, no queue is walked. The kernel's timer
// ticks fall on one connection in about seventy, which the median leaves out.

const (
	connections = 1500 // per set-up
	batches     = 5    // in which they are made
	rounds      = 2    // of all set-ups; they should tell the same

	// The most that tracing may add to the same hooks with empty programs, in
	// instructions per connection.
	aimCounting = 525
	aimEvent    = 850

	benchPort  = 8000
	timeWaited = 61 * time.Second // longer than TIME_WAIT lasts (TCP_TIMEWAIT_LEN, include/net/tcp.h)
)

// setUp is what is attached while connections are measured.
type setUp struct {
	name string
	over string // the set-up that it is compared with; empty: none
	aim  int    // at most so many instructions more than that; 0: no aim

	hooks   func(hook) bool // nil: none
	lacking []string        // functions that older hooks stand in for
	empty   bool            // programs that return at once
	options Options

	programs []asm.Instructions // in place of hooks: on security_sock_graft
}

func all(hook) bool { return true }

func justOn(symbols ...string) func(hook) bool {
	return func(h hook) bool { return slices.Contains(symbols, h.symbol) }
}

const (
	nothing   = "nothing attached"
	countOnly = "counting only"
	eventMade = "an event per connection"
	ofOthers  = "--port of others"
)

// setUps are those that everyone asks about.
func setUps() []setUp {
	return []setUp{
		{name: nothing},
		{name: emptyHooks, hooks: all, empty: true},
		{name: countOnly, over: emptyHooks, aim: aimCounting, hooks: all, options: Options{Kinds: []event.Kind{}}},
		{name: eventMade, over: emptyHooks, aim: aimEvent, hooks: all},
		{name: ofOthers, over: emptyHooks, hooks: all, options: Options{Filter: onPort(benchPort + 1)}},
		{name: "--port of these", over: emptyHooks, hooks: all, options: Options{Filter: onPort(benchPort)}},
	}
}

// put attaches the set-up; the returned function detaches it.
func (s *setUp) put(t *testing.T, features *preflight.Features) func() {
	t.Helper()
	if s.programs != nil {
		return putOnGraft(t, s.programs)
	}
	if s.hooks == nil {
		return func() {}
	}
	p := hooksOnly(t, features.Without(s.lacking...), s.hooks)
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

// hooksOnly is the plan of mode fentry with these hooks, and no walk.
func hooksOnly(t *testing.T, features *preflight.Features, hooks func(hook) bool) *Plan {
	t.Helper()
	p := must(MakePlan(features, Fentry))(t)
	p.hooks = slices.DeleteFunc(p.hooks, func(h hook) bool { return h.forMPTCP || !hooks(h) })
	p.walk = ""
	return p
}

// verify fails when the programs did not do what was measured: count every
// connection where the hooks of accept and enqueue are.
func (s *setUp) verify(t *testing.T, coll *loaded) {
	t.Helper()
	if s.empty {
		return
	}
	c := must(newCounts(coll.Collection))(t)
	sample := must(c.read(false))(t)
	var accepted, enqueued uint64
	for _, l := range sample.Listeners {
		accepted += l.Accepted
		enqueued += l.Enqueued
	}
	want := func(symbol string) uint64 {
		filter := s.options.Filter.Ports
		if !s.hooks(hook{symbol: symbol}) || len(filter) > 0 && filter[0].First != benchPort {
			return 0
		}
		return connections
	}
	if accepted != want(inetAccept) || enqueued != want(childProcess) {
		t.Errorf("%s: %d connections were counted when accepted and %d when queued, want %d and %d", s.name, accepted, enqueued, want(inetAccept), want(childProcess))
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

// figure is what is printed and, as JSON, found again by a program. Instructions
// per connection, all of them; Rounds are the medians, of which Total is the least.
type figure struct {
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
	parts, instead := measuredHooks(t, features)
	blocks := newBlocks(t)
	list := slices.Concat(setUps(), partSetUps(parts), insteadSetUps(instead), blockSetUps(t, blocks))
	costs := make([]figure, len(list))
	for range rounds {
		for i := range list {
			remove := list[i].put(t, features)
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
	writeCost(t, explain(t, costs, parts, instead, blocks))
}

// requireInstructionCount fails where a nanosecond is no instruction: with more
// than one processor, the guest does not count them.
func requireInstructionCount(t *testing.T) {
	t.Helper()
	if n := runtime.NumCPU(); n != 1 {
		t.Fatalf("%d processors: run this in a guest with --icount, which has one", n)
	}
}

func printCosts(t *testing.T, p *Plan, costs []figure) {
	t.Helper()
	fmt.Printf("\n%s\nclock %s; mode %s on %s\n\n", said(t, "/proc/version"), said(t, clockSource), p.Mode, strings.Join(p.Hooks(), ", "))
	fmt.Printf("instructions per connection, the least median of %d batches of %d, least of %d rounds\n", batches, connections/batches, rounds)
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
		Kernel      string   `json:"kernel"`
		Connections int      `json:"connections"`
		Costs       []figure `json:"costs"`
	}{said(t, osRelease), connections, costs}))(t)
	fmt.Printf("\nbench-kernel: %s\n", line)
}

const (
	osRelease   = "/proc/sys/kernel/osrelease"
	clockSource = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
)

// said is what a file of the kernel says.
func said(t *testing.T, file string) string {
	t.Helper()
	return strings.TrimSpace(string(must(os.ReadFile(file))(t)))
}
