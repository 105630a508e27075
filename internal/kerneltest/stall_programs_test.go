//go:build kernel

package kerneltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// stallProgram is a server that stops accepting, or that something stops, and
// what is to be said of it.
type stallProgram struct {
	name    string
	command []string // "{port}" is where it listens; {stall} where the built ones are
	env     []string
	clients int    // that connect, one after the other
	request string // of each
	hangUp  bool   // they do so after their request
	burst   int    // so many go on, at once and again, while it is looked at
	before  func(t *testing.T, cmd *exec.Cmd)
	after   func(t *testing.T, p *process) // when it listens and before clients come
	late    func(t *testing.T, p *process) // when they have come

	// want is the first cause in a mode that sees accepts and refusals, and blind in
	// one that does not; empty: the same.
	want, blind string
}

const getLine = "GET / HTTP/1.0\r\n\r\n"

// stallPrograms were written from a list of causes, before the rules, and those
// that are marked as unseen before they were finished, but run only then.
func stallPrograms() []stallProgram {
	python := func(file string) []string { return []string{"python3", "-I", "testdata/stall/" + file, "{port}"} }
	built := func(name string) []string { return []string{"{stall}/" + name, "{port}"} }
	java := func(class string, flags ...string) []string {
		return append(append([]string{"java"}, flags...), "-cp", "{stall}", class, "{port}")
	}
	return []stallProgram{
		{name: "mutex_c", command: built("mutex"), clients: 4, want: "lock"},
		{name: "prefork_c", command: built("prefork"), clients: 12, want: "pool"},
		{name: "eventloop_c", command: built("eventloop"), clients: 6, request: "x\n", want: "event_loop"},
		{name: "acceptorgone_c", command: built("acceptorgone"), clients: 6, request: "x\n", want: "acceptor_gone"},
		{name: "acceptmutex_c", command: built("acceptmutex"), clients: 6, want: "accept_mutex"},
		{name: "slowclient_c", command: built("slowclient"), clients: 5, request: "short", want: "slow_client"},
		{name: "journal_c", command: built("journal"), env: []string{"JOURNAL={disk}"}, before: needsDisk, clients: 6, want: "disk"},
		{name: "bigtable_c", command: built("bigtable"), before: littleMemory, clients: 5, want: "reclaim"},

		{name: "proxy_py", command: python("proxy.py"), clients: 5, request: getLine, want: "downstream"},
		{name: "reverse_py", command: python("reverse.py"), before: deafNameServer, clients: 5, request: "x\n", want: "dns"},
		{name: "leak_py", command: python("leak.py"), clients: 40, request: "hello", hangUp: true, want: "descriptor_leak"},
		{name: "asyncblock_py", command: python("asyncblock.py"), clients: 5, request: "x\n", want: "event_loop"},
		{name: "threadpool_py", command: python("threadpool.py"), clients: 12, want: "pool"},
		{name: "stopped_py", command: python("simple.py"), after: stopIt, clients: 5, request: getLine, want: "stopped"},
		{name: "traced_py", command: python("simple.py"), after: debugIt, clients: 5, request: getLine, want: "traced"},
		{name: "frozen_py", command: python("simple.py"), before: freezable, after: freezeIt, clients: 5, request: getLine, want: "frozen"},
		{name: "throttled_c", command: built("eventloop"), before: littleCPU, clients: 5, request: "x\n", want: "throttled"},
		{name: "starved_c", command: built("eventloop"), after: starveIt, clients: 5, request: "x\n", want: "starved"},

		{name: "pool_java", command: java("Pool", "-Xint"), clients: 14, request: "x\n", want: "pool"},
		{name: "synchronized_java", command: java("Synchronized"), clients: 6, want: "cannot_tell"},
		{name: "garbage_java", command: java("Garbage", "-Xmx24m", "-XX:-UseGCOverheadLimit", "-XX:+UseParallelGC"), clients: 5, want: "gc"},
		{name: "garbage_serial_java", command: java("Garbage", "-Xmx24m", "-XX:-UseGCOverheadLimit", "-XX:+UseSerialGC"), clients: 5, want: "gc"},

		{name: "files_go", command: built("gofiles"), clients: 60, want: "out_of_descriptors"},
		{name: "channel_go", command: built("gochannel"), clients: 12, want: "acceptor_parked"},
		{name: "spin_go", command: built("gospin"), clients: 5, want: "cpu"},

		{name: "hash_node", command: []string{"node", "testdata/stall/hash.js", "{port}"}, clients: 5, request: getLine, want: "event_loop"},
		{name: "convert_node", command: []string{"node", "testdata/stall/convert.js", "{port}"}, clients: 5, request: getLine, want: "event_loop"},

		// Unseen.
		{name: "semaphore_c", command: built("semaphore"), clients: 7, want: "pool"},
		{name: "flock_c", command: built("pidfile"), clients: 5, want: "lock"},
		{name: "connecting_c", command: built("connecting"), before: fullBackend, clients: 5, want: "downstream"},
		{name: "pollcpu_c", command: built("pollcpu"), clients: 5, want: "cpu"},
		{name: "thumbnail_py", command: python("thumbnail.py"), clients: 5, want: "child"},
		{name: "unixbackend_py", command: python("unixbackend.py"), clients: 5, want: "downstream"},
		{name: "atomics_node", command: []string{"node", "testdata/stall/atomics.js", "{port}"}, clients: 5, request: getLine, want: "event_loop"},
		{name: "selector_java", command: java("Selector"), clients: 5, request: "x\n", want: "event_loop"},
		{name: "limit_go", command: built("golimit"), clients: 8, want: "acceptor_parked"},
		{name: "backlog_c", command: built("backlog"), env: []string{"BACKLOG=1"}, burst: 12, want: "backlog_too_small"},
		{name: "somaxconn_c", command: built("backlog"), env: []string{"BACKLOG=60000"}, burst: 12, before: smallSomaxconn, want: "somaxconn"},
		{name: "herd_c", command: built("herd"), burst: 80, want: "thundering_herd", blind: "backlog_too_small"},
	}
}

// stallDirectory is where the programs are that were built.
func stallDirectory(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ACCEPTWATCH_STALL")
	if dir == "" {
		t.Fatal("ACCEPTWATCH_STALL does not name the directory that `make stall-programs` filled")
	}
	dir, err := filepath.Abs(dir)
	check(t, err)
	return dir
}
