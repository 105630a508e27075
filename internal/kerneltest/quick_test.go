//go:build kernel

package kerneltest

import "testing"

// Whom a server accepts at once is counted in every mode: most of them are in the
// queue at no look of mode restricted.
func TestWhoIsAcceptedAtOnceIsCounted(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		const clients = 50
		l := listen(t, "127.0.0.1:0", 16)
		tr := traceJSON(t, mode, "--port", portOf(t, l.addr))
		for range clients {
			d := dial(t, l.addr)
			l.accept()
			check(t, d.Close())
		}
		tr.stop()
		if last := tr.last(l.addr); last.Accepted != clients || last.Enqueued != clients || last.Lost != 0 || last.Purged != 0 {
			t.Errorf("at the end %s; want %d accepted, none lost", describe(last), clients)
		}
	})
}
