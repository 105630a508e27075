//go:build kernel

package kerneltest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// served is a running `acceptwatch serve`.
type served struct {
	*process
	url string
}

// serve starts it, and returns when it is attached.
func serve(t *testing.T, mode string, args ...string) *served {
	t.Helper()
	s := &served{process: startCommand(t, acceptwatch(t, append([]string{"serve", "--mode", mode, "--listen", "127.0.0.1:0"}, args...)...))}
	s.await("the address", func() bool {
		for _, line := range s.stderr() {
			if _, rest, ok := strings.Cut(line, "address="); ok {
				at, _, _ := strings.Cut(rest, " ")
				s.url = "http://" + at
			}
			if strings.Contains(line, "watching") {
				return true
			}
		}
		return false
	})
	return s
}

// scrape are all series of the program's own, by their text: name{label="value"}.
func (s *served) scrape() map[string]float64 {
	s.t.Helper()
	r, err := http.Get(s.url + "/metrics")
	check(s.t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	check(s.t, err)
	if r.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", r.Status, body)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(line, "acceptwatch_"), " "); ok && strings.HasPrefix(line, "acceptwatch_") {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			check(s.t, err)
			all[name] = v
		}
	}
	return all
}

// awaitSeries scrapes until the series have these values; %s in their names is at.
func (s *served) awaitSeries(at string, want map[string]float64) map[string]float64 {
	s.t.Helper()
	var got map[string]float64
	wrong := ""
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		got, wrong = s.scrape(), ""
		for name, value := range want {
			if name = strings.ReplaceAll(name, "%s", at); got[name] != value {
				wrong += fmt.Sprintf("%s %v, want %v\n", name, got[name], value)
			}
		}
		if wrong == "" {
			return got
		}
		if time.Now().After(deadline) {
			s.t.Fatal(wrong)
		}
	}
}

// A scrape shows what a test did: what was accepted, died, was refused and failed.
func TestScrapeIsWhatHappened(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		s := serve(t, mode, "--labels", "listener")
		exact := mode != "restricted"
		l := listen(t, "127.0.0.1:0", 4)
		overflows := listenOverflows(t)
		for range 3 {
			dial(t, l.addr)
			l.accept()
		}
		a, b := dial(t, l.addr), dial(t, l.addr)
		check(t, a.Close())
		b.reset(t)
		for range 3 {
			dial(t, l.addr)
		}
		want := map[string]float64{
			`enqueued_total{listener="%s"}`: 8, `close_wait_total{listener="%s"}`: 1, `reset_total{listener="%s"}`: 1,
			`accept_queue_depth{listener="%s"}`: 5, `accept_queue_limit{listener="%s"}`: 4,
			`stalled{listener="%s"}`: 1, `mode_info{mode="` + mode + `"}`: 1,
		}
		if exact {
			want[`accepted_total{listener="%s"}`] = 3
			want[`accept_wait_seconds_count{listener="%s"}`] = 3
			want[`accept_queue_max_depth{listener="%s"}`] = 5
		}
		got := s.awaitSeries(l.addr, want)
		if full := got[`accept_queue_full_seconds_total{listener="`+l.addr+`"}`]; exact != (full > 0) {
			t.Errorf("full for %v s", full)
		}
		if oldest := got[`accept_queue_oldest_seconds{listener="`+l.addr+`"}`]; oldest <= 0 || oldest > time.Since(a.before).Seconds() {
			t.Errorf("the oldest has waited %v s, its client since %v", oldest, time.Since(a.before))
		}
		if _, err := net.DialTimeout("tcp4", l.addr, 100*time.Millisecond); err == nil {
			t.Fatal("a full queue took one more")
		}
		for range 5 {
			l.accept()
		}
		want = map[string]float64{`accept_queue_depth{listener="%s"}`: 0, `stalled{listener="%s"}`: 0, `accept_queue_oldest_seconds{listener="%s"}`: 0}
		if exact {
			want[`accepted_total{listener="%s"}`] = 8
			want[`accepted_dead_total{listener="%s"}`] = 2
			want[`accept_wait_seconds_count{listener="%s"}`] = 8
		}
		got = s.awaitSeries(l.addr, want)
		if exact {
			refused := got[`overflow_total{at="syn",listener="`+l.addr+`"}`] + got[`overflow_total{at="ack",listener="`+l.addr+`"}`]
			if books := listenOverflows(t) - overflows; refused == 0 || refused != float64(books) {
				t.Errorf("%v refused, by the kernel's books %d", refused, books)
			}
			if sum := got[`accept_wait_seconds_sum{listener="`+l.addr+`"}`]; sum <= 0 || sum > 8*time.Since(a.before).Seconds()*1.02 {
				t.Errorf("waits sum up to %v s", sum)
			}
			wantErrors(t, s)
		}
		s.signal(syscall.SIGTERM)
		s.wantExit(0)
	})
}

// wantErrors checks that failures for want of descriptors are counted as the
// server counts them.
func wantErrors(t *testing.T, s *served) {
	t.Helper()
	server, at := pythonServer(t, "runs_out.py")
	for range 8 {
		dial(t, at)
	}
	server.awaitLine("failing with 24")
	series := `accept_errors_total{errno="EMFILE",listener="` + at + `"}`
	await(t, "EMFILE", func() bool { return s.scrape()[series] >= 2 })
	for name := range s.scrape() {
		if strings.HasPrefix(name, "program_run") {
			t.Errorf("%s is there, though the kernel does not count", name)
		}
	}
	check(t, os.WriteFile("/proc/sys/kernel/bpf_stats_enabled", []byte("1"), 0))
	defer func() { check(t, os.WriteFile("/proc/sys/kernel/bpf_stats_enabled", []byte("0"), 0)) }()
	dial(t, at)
	// At least that which sees accept() fail runs, and that which sees it enqueued.
	await(t, "runs of programs", func() bool {
		runs, seconds := 0, 0
		for name, v := range s.scrape() {
			switch {
			case strings.HasPrefix(name, "program_runs_total{") && v > 0:
				runs++
			case strings.HasPrefix(name, "program_run_seconds_total{") && v > 0:
				seconds++
			}
		}
		return runs >= 2 && seconds >= 2
	})
}

// listenOverflows is the kernel's own count of connections that a full queue
// refused.
func listenOverflows(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/netstat")
	check(t, err)
	rows := strings.Split(string(text), "\n")
	values := strings.Fields(rows[1])
	for i, name := range strings.Fields(rows[0]) {
		if name == "ListenOverflows" {
			n, err := strconv.Atoi(values[i])
			check(t, err)
			return n
		}
	}
	t.Fatal("the kernel does not count ListenOverflows")
	return 0
}
