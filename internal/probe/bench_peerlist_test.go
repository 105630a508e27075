//go:build kernelbench

package probe

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// peer is a tracer whose cost is measured: a program, or programs of this test.
type peer struct {
	name    string
	against string // the set-up of acceptwatch to compare it with; empty: it is one

	argv []string // of the program; nil: attach
	// count finds in its output how many connections it reported of the listener at
	// 127.0.0.1 and the port.
	count func(output string, port uint16) int

	attach func() (attachment, error) // in this process

	sees      int  // of a batch of TestPeerRate; 0: all of it
	otherPort bool // it looks at otherPort only, and must report nothing of the others
}

const (
	stoppedPort = benchPort     // of connections made while the tracer's process is stopped
	runningPort = benchPort + 2 // while it runs
	otherPort   = benchPort + 1 // one connection, at the end

	counting   = "acceptwatch, counting only"
	eventLines = "acceptwatch, an event per connection"
)

// peerList is everything that is measured, acceptwatch first.
func peerList() []peer {
	acceptwatch := func(args ...string) []string {
		return append([]string{os.Getenv("ACCEPTWATCH_BIN"), "trace", "--mode", "fentry"}, args...)
	}
	return []peer{
		{name: counting, argv: acceptwatch("--events", "stall"), count: inSummary},
		{name: eventLines, argv: acceptwatch(), count: acceptedLines},
		{name: "acceptwatch, --min-wait 100ms", argv: acceptwatch("--min-wait", "100ms"), count: inSummary},
		{name: "acceptwatch, --port of others", argv: acceptwatch("--port", strconv.Itoa(otherPort)), count: inSummary, otherPort: true},
		{name: "start times in a hash, kprobes", against: counting, attach: attachExporter},
		{name: "bpftrace, kprobes", against: counting, argv: []string{"bpftrace", "testdata/wait_kprobe.bt"}, count: inHistogram},
		{name: "bpftrace, kfunc", against: counting, argv: []string{"bpftrace", "testdata/wait_kfunc.bt"}, count: inHistogram},
		{name: "bpftrace, tcpaccept.bt", against: eventLines, argv: []string{"bpftrace", "/usr/sbin/tcpaccept.bt"}, count: linesOf(`:\d\d \d+ .* 127\.0\.0\.1 +PORT +\d+/\d+$`)},
		{name: "libbpf-tools, tcptracer", against: eventLines, argv: []string{"tcptracer"}, count: linesOf(`^A .* 127\.0\.0\.1 +127\.0\.0\.1 +PORT +\d+$`)},
		{name: "libbpf-tools, tcplife", against: eventLines, argv: []string{"tcplife"}, count: linesOf(`127\.0\.0\.1 +PORT +127\.0\.0\.1 +\d+ `)},
		{name: "libbpf-tools, tcpstates", against: eventLines, argv: []string{"tcpstates"}, count: linesOf(`127\.0\.0\.1 +PORT +127\.0\.0\.1 .*-> CLOSE_WAIT `)},
	}
}

// linesOf counts the lines that match, with the port for PORT.
func linesOf(pattern string) func(string, uint16) int {
	return func(output string, port uint16) int {
		line := regexp.MustCompile("(?m)" + strings.ReplaceAll(pattern, "PORT", strconv.Itoa(int(port))))
		return len(line.FindAllString(output, -1))
	}
}

// acceptedLines counts the lines that acceptwatch wrote, and nothing where its own
// summary differs from them.
func acceptedLines(output string, port uint16) int {
	lines := linesOf(`127\.0\.0\.1:PORT .*127\.0\.0\.1:\d+ +accepted `)(output, port)
	if lines != inSummary(output, port) {
		return 0
	}
	return lines
}

var acceptedInSummary = regexp.MustCompile(`(?m)^ *([\d,]+) accepted `)

// inSummary finds what acceptwatch's summary says of the listener.
func inSummary(output string, port uint16) int {
	_, summary, _ := strings.Cut(output, "\nsummary of ")
	_, listener, found := strings.Cut(summary, fmt.Sprintf("\n127.0.0.1:%d", port))
	if !found {
		return 0
	}
	listener, _, _ = strings.Cut(listener, "\n127.")
	match := acceptedInSummary.FindStringSubmatch(listener)
	if match == nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.ReplaceAll(match[1], ",", ""))
	return n
}

var histogramLine = regexp.MustCompile(`(?m)^[\[(][^|]*[\])] +(\d+) \|`)

// inHistogram sums up bpftrace's histogram of the port.
func inHistogram(output string, port uint16) int {
	_, of, found := strings.Cut(output, fmt.Sprintf("@wait_us[%d]:", port))
	if !found {
		return 0
	}
	of, _, _ = strings.Cut(of, "\n@")
	n := 0
	for _, match := range histogramLine.FindAllStringSubmatch(of, -1) {
		count, _ := strconv.Atoi(match[1])
		n += count
	}
	return n
}
