package probe

import (
	"net/netip"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// The kernel may skip any run of a program that sees deaths. Here it skips all
// of them: the next walk of the queues, which is every five seconds, finds the
// dead, and accept finds those that it takes before.
func TestDeathsWhoseEventsWereSkippedAreFound(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 16)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port()), fault: neverCalled(func(h *hook) bool { return h.role == RoleState })})
		table := listener.New(listener.Options{StallAfter: time.Hour, Start: monotonic()})
		deaths := map[netip.AddrPort]event.Event{}
		take := func() {
			for _, e := range readAll(t, tr, 2*sampleEvery) {
				table.Apply(&e, func(e *event.Event) {
					if e.Kind == event.CloseWait || e.Kind == event.Reset {
						deaths[e.Peer] = *e
					}
				})
			}
			table.Update(must(tr.Sample(false))(t), nil)
		}
		taken, walked, alive := connect(t, s.addr), connect(t, s.addr), connect(t, s.addr)
		check(t, tr.Walk())
		take()
		taken.close()
		walked.close()
		take()
		if len(deaths) > 0 {
			t.Fatalf("deaths without the hook that sees them: %v", deaths)
		}
		s.accept()
		check(t, tr.Walk())
		take()
		for name, c := range map[string]*client{"accepted": taken, "walked": walked} {
			if e, ok := deaths[c.local]; !ok || e.Kind != event.CloseWait || e.Flags&event.Recovered == 0 {
				t.Errorf("%s: %s", name, describe([]event.Event{e}))
			}
		}
		for _, r := range table.Rows() {
			if r.Key.Addr == s.addr && r.CloseWait != 2 {
				t.Errorf("%d hang-ups in the row, want 2", r.CloseWait)
			}
		}
		if _, dead := deaths[alive.local]; dead || len(deaths) != 2 {
			t.Errorf("deaths %v", deaths)
		}
	}, Fentry, Kprobe)
}
