//go:build kernel

package kerneltest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// looked is a line of `snapshot -o json`; what is absent is nil.
type looked struct {
	record
	Age        *time.Duration `json:"age_ns"`
	Unread     int            `json:"unread_bytes"`
	Derived    bool           `json:"close_derived"`
	AgeUnknown int            `json:"age_unknown"`
	Dropped    *int
	Ages       []struct{ Count int }
	None       *time.Time `json:"none_accepted_since"`
	Held       []struct {
		PID, Sockets int
		FDs          []int
	}
}

// snapshot runs one, and returns what it says of a listener, and of the
// connections in its queue.
func snapshot(t *testing.T, p *process, at, mode string) (l looked, connections []looked) {
	t.Helper()
	p.wantExit(0)
	found := false
	var last looked
	for _, line := range p.lines() {
		var r looked
		check(t, json.Unmarshal([]byte(line), &r))
		switch {
		case r.Type == "listener" && r.Listener == at:
			l, found = r, true
		case r.Type == "connection" && r.Listener == at:
			connections = append(connections, r)
		}
		last = r
	}
	if !found || last.Type != "summary" || last.Mode != mode {
		t.Fatalf("want a line for %s, and a summary in mode %s: %s", at, mode, p.everything())
	}
	return l, connections
}

// The same queue by snapshot, as root and as nobody, by ss, by /proc/net/tcp, and
// as the test made it.
func TestSnapshotTellsWhatTheOthersTell(t *testing.T) {
	l := listen(t, "127.0.0.1:0", 5)
	for range 2 {
		d := dial(t, l.addr)
		l.accept()
		check(t, d.Close())
	}
	var all []*dialed
	states := []string{"ESTABLISHED", "CLOSE_WAIT", "CLOSE", "ESTABLISHED", "CLOSE_WAIT", "CLOSE"}
	for _, state := range states {
		time.Sleep(5 * time.Millisecond) // so that each counted those before it
		d := dial(t, l.addr)
		all = append(all, d)
		switch state {
		case "CLOSE_WAIT":
			check(t, d.Close())
		case "CLOSE":
			d.reset(t)
		}
	}
	// The queue is full: this one is dropped, again and again.
	_, err := net.DialTimeout("tcp4", l.addr, 100*time.Millisecond)
	if err == nil {
		t.Fatal("a full queue took one more")
	}
	awaitStates(t, l.addr, 4, 2)
	port := portOf(t, l.addr)

	for _, how := range []struct {
		name, mode string
		args       []string
		nobody     bool
	}{
		{"walk", "walk", nil, false},
		{"diag", "diag", []string{"--mode", "diag"}, false},
		{"nobody", "diag", nil, true},
	} {
		t.Run(how.name, func(t *testing.T) {
			cmd := acceptwatch(t, append([]string{"snapshot", "--port", port, "--connections", "-o", "json"}, how.args...)...)
			if how.nobody {
				asNobody(cmd)
			}
			before := time.Now()
			r, connections := snapshot(t, startCommand(t, cmd), l.addr, how.mode)
			after := time.Now()
			wantAsSS(t, r.record, ss(t))
			proc := procNetTCP(t, port)
			if proc["08 0"] != 2 || proc["01 0"] != 2 || proc["08 file"] != 2 {
				t.Errorf("/proc/net/tcp has %v", proc)
			}
			u := r.Unaccepted
			if *r.Depth != 6 || *r.Backlog != 5 || *u.Established != 2 || u.CloseWait != 2 || u.Close != 2 || *r.HeldCloseWait != 2 {
				t.Errorf("%s; want 2 of each state of 6, and 2 held", describe(r))
			}
			if r.Dropped == nil || *r.Dropped == 0 {
				t.Errorf("%s; want drops", describe(r))
			}
			derived := how.mode == "diag"
			if r.Derived != derived || derived != (r.AgeUnknown == 2) || (r.None != nil) != !derived {
				t.Errorf("%s in mode %s", describe(r), how.mode)
			}
			if how.nobody {
				if len(r.Owners) > 0 || len(r.Held) != 1 || r.Held[0].PID != 0 {
					t.Errorf("nobody knows that %s", describe(r))
				}
			} else if len(r.Owners) != 1 || r.Owners[0].PID != os.Getpid() || len(r.Held) != 1 ||
				r.Held[0].PID != os.Getpid() || len(r.Held[0].FDs) != 2 {
				t.Errorf("%s; want it held by %d", describe(r), os.Getpid())
			}
			wantConnections(t, connections, all, states, how.mode, before, after)
		})
	}

	for condition, code := range map[string]int{
		"close_wait>1": 4, "close_wait>2": 0, "reset>=2&depth>=100%": 4, "held_close_wait": 4, "overflow": 4, "wait>1h | depth>6": 0,
	} {
		startCommand(t, acceptwatch(t, "snapshot", "--port", port, "--fail-on", condition)).wantExit(code)
	}
}

// wantConnections compares the list with what the test did, between two moments.
func wantConnections(t *testing.T, got []looked, all []*dialed, states []string, mode string, before, after time.Time) {
	t.Helper()
	// As exact as the kernel's tick, or as two clocks that are read one after
	// the other.
	exactly := 20 * time.Millisecond
	i := 0
	for j, d := range all {
		if mode == "diag" && states[j] == "CLOSE" {
			continue // not listed
		}
		if i == len(got) {
			t.Fatalf("%d are listed", i)
		}
		c := got[i]
		i++
		if mode == "diag" { // ages are only so exact, and so is the order
			k := slices.IndexFunc(got, func(c looked) bool { return c.Peer == d.addr })
			if k < 0 {
				t.Fatalf("%s is not listed: %s", d.addr, describe(got))
			}
			c = got[k]
		}
		if c.Peer != d.addr || c.State != states[j] || c.Unread != 1 {
			t.Errorf("entry %d is %s; want %s in %s with 1 byte unread", i, describe(c), d.addr, states[j])
		}
		if least, most := before.Sub(d.after)-exactly, after.Sub(d.before)+exactly; c.Age == nil || *c.Age < least || *c.Age > most {
			t.Errorf("entry %d is %s; want an age of %v to %v", i, describe(c), least, most)
		}
	}
	if i != len(got) {
		t.Errorf("%d are listed, want %d: %s", len(got), i, describe(got))
	}
}

// procNetTCP counts the IPv4 sockets at a local port by state and whether they
// have a file: "08 0", "08 file".
func procNetTCP(t *testing.T, port string) map[string]int {
	t.Helper()
	f, err := os.Open("/proc/net/tcp")
	check(t, err)
	defer f.Close()
	number, err := strconv.Atoi(port)
	check(t, err)
	suffix := fmt.Sprintf(":%04X", number)
	counts := make(map[string]int)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		row := strings.Fields(lines.Text())
		if len(row) < 10 || !strings.HasSuffix(row[1], suffix) {
			continue
		}
		file := "file"
		if row[9] == "0" {
			file = "0"
		}
		counts[row[3]+" "+file]++
	}
	return counts
}

// From one look to the next, it is known that nobody accepts, and that somebody
// does again.
func TestSnapshotWatchesAStall(t *testing.T) {
	for _, mode := range []string{"walk", "diag"} {
		t.Run(mode, func(t *testing.T) {
			l := listen(t, "127.0.0.1:0", 5)
			dial(t, l.addr)
			dial(t, l.addr)
			l.accept()
			p := startCommand(t, acceptwatch(t, "snapshot", "--mode", mode, "--port", portOf(t, l.addr), "--watch", "200ms", "-o", "json"))
			p.awaitLine("none_accepted_since")
			l.accept()
			p.awaitLine(`"depth":0`)
			trace{p}.stop()
			first := (trace{p}).records()[0]
			if first.Depth == nil || *first.Depth != 1 {
				t.Errorf("first %s; want a depth of 1", describe(first))
			}
		})
	}
}
