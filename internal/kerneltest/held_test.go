//go:build kernel

package kerneltest

import (
	"fmt"
	"strings"
	"testing"
)

// CLOSE_WAIT has two causes: a server that does not close what it accepted, and
// one that does not accept.
func TestHeldCloseWaitIsToldApart(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		leaking, leaks := pythonServer(t, "never_closes.py")
		_, stuck := pythonServer(t, "one_at_a_time.py")
		ports := []string{"--port", portOf(t, leaks), "--port", portOf(t, stuck)}
		tr := traceJSON(t, mode, ports...)
		text := traceText(t, mode, ports...)

		const held, queued = 3, 2
		var fds []string
		for range held {
			d := dial(t, leaks)
			line := leaking.awaitLine("accepted " + d.addr + " fd ")
			fds = append(fds, line[strings.LastIndex(line, " ")+1:])
			check(t, d.Close())
		}
		for range queued {
			check(t, dial(t, stuck).Close())
		}
		await(t, "CLOSE-WAIT at both", func() bool {
			n := map[string]int{}
			for _, row := range ss(t) {
				if row.state == "CLOSE-WAIT" {
					n[row.local]++
				}
			}
			return n[leaks] == held && n[stuck] == queued
		})
		tr.awaitEvents("close_wait", queued)
		text.await("the dead", func() bool { return text.count("CLOSE_WAIT before accept") == queued })
		tr.stop()
		text.stop()

		for _, e := range tr.events("close_wait") {
			if e.Listener != stuck {
				t.Errorf("%s; want it at %s only", describe(e), stuck)
			}
		}
		a, b := tr.last(leaks), tr.last(stuck)
		if *a.HeldCloseWait != held || a.CloseWait != 0 || a.Unaccepted.CloseWait != 0 {
			t.Errorf("of the server that does not close: %s; want %d held and nothing else in CLOSE_WAIT", describe(a), held)
		}
		if *b.HeldCloseWait != 0 || b.CloseWait != queued || b.Unaccepted.CloseWait != queued {
			t.Errorf("of the server that does not accept: %s; want %d unaccepted and none held", describe(b), queued)
		}
		wantAsSS(t, b, ss(t))

		first, last := fds[0], fds[len(fds)-1]
		isHeld := fmt.Sprintf("%d CLOSE_WAIT       held open by %s[%d] as fds %s-%s:", held, leaking.comm(), leaking.pid(), first, last)
		isQueued := fmt.Sprintf("%d CLOSE_WAIT       not accepted: still in the accept queue, no process has them", queued)
		for _, c := range []struct{ section, want, not string }{
			{text.section(leaks), isHeld, "not accepted"}, {text.section(stuck), isQueued, "held open"},
		} {
			if !strings.Contains(c.section, c.want) || strings.Contains(c.section, c.not) {
				t.Errorf("want %q and not %q in\n%s", c.want, c.not, c.section)
			}
		}
		if s := text.section(leaks); strings.Contains(s, "close_wait") {
			t.Errorf("the leak is called close_wait in\n%s", s)
		}
		t.Log(text.everything())
	})
}
