//go:build kernelbench

package probe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/peers"
)

// What acceptwatch and other tracers add to a connection, as programs that one
// starts, in instructions: see TestKernelCost for how they are counted, and
// internal/peers for what is shown. `make bench-peers` runs it.
//
// Each is started twice, and the lesser figure counts. First connections are made
// with the tracer's process stopped, a few at a time so that no buffer fills up, and
// the process goes on between them: what the median then has more is what its programs
// cost, and some of what it costs to wake a reader. Then with the process running on
// the same processor: the mean has all.

const (
	// stoppedBatch is how many connections fit into the smallest buffer of a stopped
	// tracer: 64 KiB, into which tcpstates writes 1,300 bytes each.
	stoppedBatch = 20
	readTime     = 300 * time.Millisecond // for a tracer to read a batch

	runningRounds = 3 // with the process running; the middle one counts

	peersFile = "/tmp/peers.json" // in the guest
)

func TestPeerCost(t *testing.T) {
	requireInstructionCount(t)
	bench := newPeerBench(t)
	costs := peers.Costs{
		Kernel:      strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))(t))),
		Packages:    os.Getenv("ACCEPTWATCH_PEER_PACKAGES"),
		Connections: connections,
	}
	first := must(bench.measure(nothingAttached{}))(t)
	for _, p := range peerList() {
		t.Run(p.name, func(t *testing.T) {
			row := bench.total(t, &p)
			row.Repeat(bench.total(t, &p))
			costs.Rows = append(costs.Rows, row)
		})
	}
	last := must(bench.measure(nothingAttached{}))(t)
	costs.Nothing, costs.NothingMean = min(first.median, last.median), min(first.mean, last.mean)
	costs.NothingDiffers = max(first.median, last.median) - costs.Nothing
	for i := range costs.Rows {
		costs.Rows[i].Subtract(costs.Nothing, costs.NothingMean)
		fmt.Printf("%+v\n", costs.Rows[i])
	}
	check(t, os.WriteFile(peersFile, must(json.Marshal(costs))(t), 0o644))
}

// total is what a connection takes with the peer. Of acceptwatch itself it must be
// known.
func (b *peerBench) total(t *testing.T, p *peer) peers.Cost {
	t.Helper()
	row := peers.Cost{Name: p.name, Against: p.against, Command: p.command(), InKernel: p.attach != nil}
	m, err := b.peer(t, p)
	if err != nil {
		row.NotMeasured = err.Error()
		if p.against == "" {
			t.Error(err)
		}
		return row
	}
	row.Kernel, row.Whole, row.Process = m.median, m.mean, m.process
	row.Reported, row.ReportedRunning, row.MadeRunning = m.stopped, m.running, runningRounds*connections
	return row
}

// command is what one types.
func (p *peer) command() string {
	if p.attach != nil {
		return ""
	}
	words := slices.Clone(p.argv)
	for i, w := range words {
		words[i] = w[strings.LastIndexByte(w, '/')+1:]
	}
	return strings.Join(words, " ")
}

// peerBench makes connections to its listeners.
type peerBench struct{ stopped, running, other *traffic }

func newPeerBench(t *testing.T) *peerBench {
	t.Helper()
	loopback := [4]byte{127, 0, 0, 1}
	return &peerBench{newTraffic(t, loopback, stoppedPort), newTraffic(t, loopback, runningPort), newTraffic(t, loopback, otherPort)}
}

// measured are ns, which are instructions, per connection.
type measured struct {
	median, mean, process int64
	stopped, running      int // connections that were reported
}

// peer measures one peer. The error is why it was not measured.
func (b *peerBench) peer(t *testing.T, p *peer) (*measured, error) {
	a, err := p.put(t)
	if err != nil {
		return nil, err
	}
	m, err := b.measure(a)
	if err == nil && p.otherPort {
		b.other.make(make([]int64, 1))
		err = a.settle()
	}
	count, endErr := a.end()
	switch {
	case err != nil:
		return nil, err
	case endErr != nil:
		return nil, endErr
	}
	m.stopped, m.running = count(stoppedPort), count(runningPort)
	want := connections
	if p.otherPort {
		want = 0
		if n := count(otherPort); n != 1 {
			return nil, fmt.Errorf("it reported %d of the 1 connection that it was to report", n)
		}
	}
	if m.stopped != want || (p.otherPort && m.running != want) {
		return nil, fmt.Errorf("it reported %d and %d connections, want %d", m.stopped, m.running, want)
	}
	return m, nil
}

func (b *peerBench) measure(a attachment) (*measured, error) {
	m := &measured{}
	time.Sleep(timeWaited)
	costs := make([]int64, connections)
	for part := range slices.Chunk(costs, stoppedBatch) {
		if err := a.stop(); err != nil {
			return nil, err
		}
		b.stopped.make(part)
		if err := a.cont(); err != nil {
			return nil, err
		}
		time.Sleep(readTime)
	}
	slices.Sort(costs)
	m.median = costs[len(costs)/2]

	// What the kernel does from time to time falls into some of the rounds.
	var rounds [runningRounds][2]int64
	for i := range rounds {
		time.Sleep(timeWaited)
		mean, process, err := b.meanRunning(a)
		if err != nil {
			return nil, err
		}
		rounds[i] = [2]int64{mean, process}
	}
	slices.SortFunc(rounds[:], func(x, y [2]int64) int { return cmp.Compare(x[0], y[0]) })
	m.mean, m.process = rounds[runningRounds/2][0], rounds[runningRounds/2][1]
	return m, nil
}

// meanRunning is what a connection takes while the tracer's process runs, and what
// of it is that process: until it has read everything, and less what it does
// without connections.
func (b *peerBench) meanRunning(a attachment) (mean, process int64, err error) {
	var used [4]int64 // by the process: before it idles, before, after, when all is read
	costs := make([]int64, connections)
	for i, then := range []func(){
		func() { time.Sleep(restTime) },
		func() { b.running.make(costs) },
		func() { time.Sleep(restTime) },
		func() {},
	} {
		if used[i], err = a.cpu(); err != nil {
			return 0, 0, err
		}
		then()
	}
	idle := used[1] - used[0]
	for _, c := range costs {
		mean += c
	}
	n := int64(len(costs))
	return (mean + used[3] - used[2] - idle) / n, (used[3] - used[1] - idle) / n, nil
}

// nothingAttached is what the others are compared with.
type nothingAttached struct{}

func (nothingAttached) stop() error                         { return nil }
func (nothingAttached) cont() error                         { return nil }
func (nothingAttached) settle() error                       { return nil }
func (nothingAttached) cpu() (int64, error)                 { return 0, nil }
func (nothingAttached) end() (func(port uint16) int, error) { return nil, nil }
