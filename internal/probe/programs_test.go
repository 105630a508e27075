package probe

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Who needs no events gets none from the kernel, however many connections there
// are, and the same counts.
func TestCountsWithoutEvents(t *testing.T) {
	const n = 50
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", n)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port()), Kinds: []event.Kind{event.ListenerClosed}})
		for i := range n {
			c := connect(t, s.addr)
			switch i % 5 {
			case 0:
				c.close()
			case 1:
				c.reset()
			}
		}
		died := func() bool {
			a := addressOf(t, tr, s.addr)
			return a.CloseWait == n/5 && a.Reset == n/5
		}
		events := readUntil(t, tr, func([]event.Event) bool { return died() })
		if m != Restricted {
			for range n {
				s.accept()
			}
			if c := sampleOf(t, tr, s.addr); c.Enqueued != n || c.Accepted != n || c.AcceptedCloseWait != n/5 || c.AcceptedReset != n/5 || c.Waits.Count() != n {
				t.Errorf("counted %+v, %d waits", c, c.Waits.Count())
			}
		}
		s.close()
		events = append(events, readUntil(t, tr, has(1, s.addr, event.ListenerClosed, event.Listener))...)
		for i := range events {
			switch e := &events[i]; {
			case e.Kind == event.Listener || e.Kind == event.Queued || e.Kind == event.ListenerClosed:
			case e.Flags&event.Sampled != 0: // made in user space
			default:
				t.Errorf("got %s", describe(events[i:i+1]))
			}
		}
	}, Fentry, Kprobe, Restricted)
}

// What the programs cost is known when the kernel counts it, and not known
// otherwise.
func TestProgramsAreCountedWhenTheKernelDoes(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		counting, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		check(t, err)
		defer counting.Close()
		s := listen(t, "127.0.0.1:0", 5)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		runs := func(part string) (n uint64, spent time.Duration) {
			for _, p := range tr.Programs() {
				if p.Name == part {
					return p.Runs, p.Time
				}
			}
			t.Fatalf("no program %s among %+v", part, tr.Programs())
			return 0, 0
		}
		// Of the state hooks, the first sees a hang-up.
		state := tr.plan.hooks[slices.IndexFunc(tr.plan.hooks, func(h hook) bool { return h.role == RoleState })].program
		before, spent := runs(state)
		connect(t, s.addr).close()
		if after, more := runs(state); after <= before || more <= spent {
			t.Errorf("%s ran %d times in %v, and after a connection %d in %v", state, before, spent, after, more)
		}
		if walks, _ := runs(tr.plan.walk); walks == 0 {
			t.Error("the walk was not counted")
		}
	}, Fentry, Kprobe, Restricted)
}
