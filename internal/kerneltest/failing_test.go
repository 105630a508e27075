//go:build kernel

package kerneltest

import (
	"strings"
	"testing"
)

// One of the commonest causes of a stall: the server is out of descriptors. That
// is what one reads first, live and in the summary.
func TestServerOutOfDescriptorsIsSaidFirst(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		server, at := pythonServer(t, "runs_out.py")
		port := portOf(t, at)
		tr, text := traceJSON(t, mode, "--port", port), traceText(t, mode, "--port", port)
		for range 8 { // of 8 descriptors it has four left
			dial(t, at)
		}
		server.awaitLine("failing with 24")
		e := tr.awaitEvents("accept_error", 2)[1] // it goes on failing
		text.awaitLine("EMFILE")
		text.awaitLine("STALL")
		tr.stop()
		text.stop()
		if e.Errno != "EMFILE" || e.PID != server.pid() || e.Comm != server.comm() || e.Listener != at || e.Repeats < 2 {
			t.Errorf("told was %s; want EMFILE of %s[%d] at %s, again and again", describe(e), server.comm(), server.pid(), at)
		}
		last := tr.last(at)
		if len(last.AcceptErrors) != 1 || last.AcceptErrors[0].Errno != "EMFILE" || last.AcceptErrors[0].PID != server.pid() || last.AcceptErrors[0].Count < e.Repeats {
			t.Errorf("counted is %+v", last.AcceptErrors)
		}
		lines := strings.Split(text.section(at), "\n")
		if len(lines) < 2 || !strings.Contains(lines[1], "EMFILE") {
			t.Errorf("want EMFILE in the first row of\n%s", text.section(at))
		}
		t.Log(text.everything())
	})
}
