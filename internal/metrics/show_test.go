package metrics

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
)

// incident is what a source sees that is asked for everything.
func incident(mode string) *Look {
	l := look(busy("127.0.0.1:8000"), row("[::]:443", nil))
	l.Mode = mode
	l.Losses = []listener.Loss{{What: "recursion_misses", Count: 3}}
	l.LossKinds = []string{"ring_full", "errors_full"}
	l.Failures = []listener.AcceptFailures{{PID: 99, Errno: 23, Count: 7}}
	l.Programs = []Program{{Name: "accept_exit_two_args", Runs: 1100, Time: 250 * time.Microsecond}, {Name: "state_entry"}}
	return l
}

func exposition(t *testing.T, mode string) string {
	b := NewBook(Options{Build: Build{Version: "v1.2.3", Revision: "abc", Go: "go1.26"}})
	before := incident(mode)
	before.Time -= notKnownFor
	b.Take(before)
	return text(t, b, b.Take(incident(mode)))
}

func TestExposition(t *testing.T) {
	golden.Compare(t, "exposition.txt", []byte(exposition(t, "fentry")))
}

// What a mode cannot know is not there.
func TestExpositionOfRestricted(t *testing.T) {
	out := exposition(t, listener.Restricted)
	golden.Compare(t, "restricted.txt", []byte(out))
	for _, name := range []string{"accept_wait_seconds", "accepted_total", "overflow_total", "accept_errors_total"} {
		if strings.Contains(out, "acceptwatch_"+name) {
			t.Errorf("%s is there", name)
		}
	}
}

// promtool finds no fault. ACCEPTWATCH_NEED_PROMETHEUS demands that it is there.
func TestPromtoolFindsNoFault(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("ACCEPTWATCH_NEED_PROMETHEUS") != "" {
			t.Fatalf("%v: install Debian's package prometheus", err)
		}
		t.Skipf("%v: nothing has judged the names of the metrics", err)
	}
	for _, mode := range []string{"fentry", listener.Restricted} {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(exposition(t, mode))
		if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader("# TYPE acceptwatch_accepted counter\nacceptwatch_accepted 1\n")
	if err := cmd.Run(); err == nil {
		t.Error("it finds no fault in a counter without _total, too")
	}
}
