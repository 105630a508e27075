//go:build kernelbench

package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/peers"
)

// What acceptwatch and other tracers take from the rate of connections, in time:
// batches with and without the tracer, in turn, each in a network namespace of its
// own, so that none finds what the one before left. The machine may be busy with
// other things: that widens the interval.
//
// It runs in a guest of two processors, and on a host that allows at least mode
// restricted (as root):
//
//	make bench-peers-rate

const ratePairs = 12

// kernelVersion is the release without what a builder has added after a hyphen, but
// for Debian's cloud kernels, which others have too.
func kernelVersion(release string) string {
	if strings.Contains(release, "-cloud-") {
		return release
	}
	return strings.SplitN(release, "-", 2)[0]
}

// restrictedMode sees no accepts: that it watches is shown by clients that hang up
// before.
var restrictedMode = peer{
	name:  "acceptwatch, --mode restricted",
	argv:  []string{os.Getenv("ACCEPTWATCH_BIN"), "trace", "--mode", "restricted"},
	count: linesOf(`127\.0\.0\.1:PORT .* close_wait `), sees: hungUp,
}

// hungUp are the connections at the end of each batch whose clients hang up before
// accept.
const hungUp = 10

func TestPeerRate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("attaching, and a network namespace for the connections, need root")
	}
	size, err := strconv.Atoi(os.Getenv("ACCEPTWATCH_BATCH"))
	if err != nil {
		t.Fatal("ACCEPTWATCH_BATCH is not the number of connections in a batch: ", err)
	}
	rates := peers.Rates{
		Where:      os.Getenv("ACCEPTWATCH_WHERE"),
		Kernel:     kernelVersion(strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))(t)))),
		Processors: runtime.NumCPU(),
		Batch:      size,
	}
	var without []float64 // the means, ns per connection
	for _, p := range append(peerList(), restrictedMode) {
		row := peers.Rate{Name: p.name, Command: p.command()}
		pairs, err := p.pairs(t, size, &row)
		if err != nil {
			row.NotMeasured = err.Error()
		} else {
			var means, medians []float64
			for _, pair := range pairs {
				means = append(means, pair.with.mean/pair.without.mean)
				medians = append(medians, pair.with.median/pair.without.median)
				without = append(without, pair.without.mean)
			}
			row.Mean, _ = peers.RatioOf(means)
			row.Typical, _ = peers.RatioOf(medians)
			row.Pairs = len(pairs)
		}
		fmt.Printf("%+v\n", row)
		rates.Rows = append(rates.Rows, row)
	}
	if len(without) == 0 {
		t.Fatal("nothing could be measured here")
	}
	slices.Sort(without)
	rates.Rate = int64(1e9 / without[len(without)/2])
	check(t, os.WriteFile(os.Getenv("ACCEPTWATCH_RATES"), must(json.Marshal(rates))(t), 0o644))
}

// series is what connections took, in ns each.
type series struct{ mean, median float64 }

type pair struct{ without, with series }

// pairs measures with and without the peer, the order in turn, and writes into the
// row what it reported. The error is why it was not measured.
func (p *peer) pairs(t *testing.T, size int, row *peers.Rate) ([]pair, error) {
	var all []pair
	for i := range ratePairs {
		var one pair
		if i%2 == 0 {
			one.without = withoutTracer(t, size)
		}
		a, err := p.put(t)
		if err != nil {
			return nil, err
		}
		var closeListener func()
		one.with, closeListener = makeBatch(t, size)
		err = a.settle()
		count, endErr := a.end()
		closeListener()
		if err = errors.Join(err, endErr); err != nil {
			return nil, err
		}
		made := size + hungUp
		if p.sees != 0 {
			made = p.sees
		}
		if p.otherPort {
			made = 0
		}
		reported := count(benchPort)
		if reported == 0 && made > 0 {
			return nil, fmt.Errorf("it reported none of %d connections", made)
		}
		row.Made, row.Reported = row.Made+made, row.Reported+reported
		if i%2 != 0 {
			one.without = withoutTracer(t, size)
		}
		all = append(all, one)
	}
	return all, nil
}

// makeBatch makes connections in a new network namespace; the function closes their
// listener.
func makeBatch(t *testing.T, size int) (series, func()) {
	t.Helper()
	costs := make([]int64, size)
	var l *traffic
	inOtherNamespace(t, func() {
		l = newTraffic(t, [4]byte{127, 0, 0, 1}, benchPort)
		l.make(costs)
		for range hungUp {
			connect(t, l.addr).close()
			accepted, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
			check(t, err)
			check(t, unix.Close(accepted))
		}
	})
	var sum int64
	for _, c := range costs {
		sum += c
	}
	slices.Sort(costs)
	return series{float64(sum) / float64(size), float64(costs[size/2])}, l.close
}

// withoutTracer is a batch with nothing attached.
func withoutTracer(t *testing.T, size int) series {
	t.Helper()
	b, end := makeBatch(t, size)
	end()
	return b
}
