//go:build kernel

package kerneltest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func itoa[N int | uint16](n N) string { return strconv.Itoa(int(n)) }

// acceptwatch is the program under test with arguments.
func acceptwatch(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary := os.Getenv("ACCEPTWATCH_BIN")
	if binary == "" {
		t.Fatal("ACCEPTWATCH_BIN does not name the program under test")
	}
	return exec.Command(binary, args...)
}

// trace is a running `acceptwatch trace`.
type trace struct{ *process }

// traceText starts a trace for people, and returns when it is attached.
func traceText(t *testing.T, mode string, args ...string) trace {
	t.Helper()
	tr := trace{startCommand(t, acceptwatch(t, append([]string{"trace", "--mode", mode}, args...)...))}
	tr.awaitLine("TIME ")
	if first := tr.lines()[0]; !strings.Contains(first, "in mode "+mode) {
		t.Errorf("the first line is %q; want the mode %s in it", first, mode)
	}
	return tr
}

// traceJSON starts a trace for programs, and returns when it has listed the
// listeners that are there already.
func traceJSON(t *testing.T, mode string, args ...string) trace {
	t.Helper()
	tr := trace{startCommand(t, acceptwatch(t, append([]string{"trace", "--mode", mode, "-o", "json"}, args...)...))}
	tr.await("the listeners", func() bool { return len(tr.lines()) > 0 })
	return tr
}

// stop ends it as Ctrl-C does.
func (tr trace) stop() {
	tr.t.Helper()
	tr.signal(syscall.SIGINT)
	tr.wantExit(0)
}

// record is a line of JSON; what is absent is nil.
type record struct {
	Type     string
	Time     time.Time
	Event    string
	Listener string
	Peer     string
	Wait     json.RawMessage `json:"wait_ns"` // ns; of a listener an object
	State    string
	Depth    *int
	Backlog  *int
	PID      int
	Comm     string
	Mode     string
	Errno    string
	Repeats  int

	AcceptErrors []struct {
		PID   int
		Errno string
		Count int
	} `json:"accept_errors"`
	Owners     []struct{ PID int }
	Oldest     *time.Duration `json:"oldest_ns"`
	Enqueued   int
	Accepted   int
	CloseWait  int `json:"close_wait"`
	Reset      int
	Purged     int
	Lost       int
	Unaccepted *struct {
		Established *int `json:"ESTABLISHED"`
		CloseWait   int  `json:"CLOSE_WAIT"`
		Close       int  `json:"CLOSE"`
	}
	HeldCloseWait *int `json:"held_close_wait"`
}

// wait is that of an event.
func (r *record) wait(t *testing.T) time.Duration {
	t.Helper()
	var ns int64
	if err := json.Unmarshal(r.Wait, &ns); err != nil {
		t.Fatalf("the wait of %+v: %v", r, err)
	}
	return time.Duration(ns)
}

// records are the lines so far.
func (tr trace) records() []record {
	tr.t.Helper()
	var all []record
	for _, line := range tr.lines() {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			tr.t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// events are those of a kind so far, at all listeners.
func (tr trace) events(kind string) []record {
	tr.t.Helper()
	var list []record
	for _, r := range tr.records() {
		if r.Type == "event" && r.Event == kind {
			list = append(list, r)
		}
	}
	return list
}

// awaitEvents polls until there are n events of a kind, and returns all.
func (tr trace) awaitEvents(kind string, n int) []record {
	tr.t.Helper()
	tr.await(itoa(n)+" "+kind, func() bool { return len(tr.events(kind)) >= n })
	return tr.events(kind)
}

// first is the line of a listener at the start.
func (tr trace) first(listener string) record {
	tr.t.Helper()
	for _, r := range tr.records() {
		if r.Type == "listener" && r.Listener == listener {
			return r
		}
	}
	tr.t.Fatalf("no line for the listener %s", listener)
	return record{}
}

// last is the line of a listener at the end.
func (tr trace) last(listener string) record {
	tr.t.Helper()
	found := tr.first(listener)
	for _, r := range tr.records() {
		if r.Type == "listener" && r.Listener == listener {
			found = r
		}
	}
	if found.HeldCloseWait == nil {
		tr.t.Fatalf("no line for the listener %s at the end", listener)
	}
	return found
}

// summary is the last line.
func (tr trace) summary() record {
	tr.t.Helper()
	all := tr.records()
	if len(all) == 0 || all[len(all)-1].Type != "summary" {
		tr.t.Fatal("the last line is no summary")
	}
	return all[len(all)-1]
}

// count says how many lines contain the text.
func (tr trace) count(text string) int {
	n := 0
	for _, line := range tr.lines() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// section is what the summary in text says of a listener.
func (tr trace) section(listener string) string {
	tr.t.Helper()
	all := strings.Join(tr.lines(), "\n")
	_, summary, ok := strings.Cut(all, "\nsummary of ")
	if !ok {
		tr.t.Fatal("there is no summary")
	}
	_, section, ok := strings.Cut(summary, "\n"+listener)
	if !ok {
		tr.t.Fatalf("the summary does not name %s", listener)
	}
	section, _, _ = strings.Cut(section, "\n\n")
	return listener + section
}
