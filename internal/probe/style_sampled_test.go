package probe

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Where accept() cannot be watched, a connection that leaves the queue is
// noticed by the next walk: at least as late as it was accepted, by nobody, and
// marked as sampled. What comes and goes between two walks is counted only.
func TestRestrictedModeSaysWhatItCannotKnow(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const waiting, hurried = 8, 200
		s := listen(t, "127.0.0.1:0", 256)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		for _, want := range []string{"waits are sampled every " + sampleEvery.String(), "who accepted a connection"} {
			if limits := strings.Join(tr.Limits(), "\n"); !strings.Contains(limits, want) {
				t.Errorf("%q is not said:\n%s", want, limits)
			}
		}
		l := newLedger(t)
		var clients []*client
		for range waiting {
			before := monotonic()
			c := connect(t, s.addr)
			l.made[c.local] = connectionTimes{connecting: before, acknowledged: monotonic()}
			clients = append(clients, c)
		}
		readAll(t, tr, 3*sampleEvery)
		accepting := monotonic()
		for range clients {
			s.accept()
		}
		accepted := monotonic()
		events := readUntil(t, tr, has(waiting, s.addr, event.Accepted))
		noticed := monotonic()
		seen := map[netip.AddrPort]int{}
		for _, e := range only(events, s.addr, event.Accepted) {
			seen[e.Peer]++
			made := l.made[e.Peer]
			if e.Queued < made.connecting-1000 || e.Queued > made.acknowledged || e.Time < accepting || e.Time > noticed {
				t.Errorf("queued in [%d, %d], accepted in [%d, %d], noticed before %d: %d %d %s", made.connecting, made.acknowledged, accepting, accepted, noticed, e.Queued, e.Time, describe([]event.Event{e}))
			}
			checkAcceptorOf(t, m, &e)
		}
		for _, c := range clients {
			if seen[c.local] != 1 {
				t.Errorf("%s was reported %d times", c.local, seen[c.local])
			}
		}
		// Accepted at once; walks go on meanwhile and may meet a few.
		for range hurried {
			c := connect(t, s.addr)
			unix.Close(must(acceptCall(s.fd))(t))
			c.close()
		}
		events = append(events, readAll(t, tr, 4*sampleEvery)...)
		reported := uint64(len(only(events, s.addr, event.Accepted)))
		row := sampleOf(t, tr, s.addr)
		if row.Accepted != reported || row.Waits.Count() != reported || reported > waiting+hurried || row.LastAccept > monotonic() {
			t.Errorf("%d sampled: %+v", reported, row)
		}
		if longest := noticed - l.made[clients[0].local].connecting; row.MaxWait < accepting-l.made[clients[0].local].acknowledged || row.MaxWait > longest+int64(time.Microsecond) {
			t.Errorf("the longest wait, %v, is more than %v", time.Duration(row.MaxWait), time.Duration(longest))
		}
		checkEnqueued(t, tr, m, s.addr, waiting+hurried)
	}, Restricted)
}

// Nothing sees an accept in restricted mode: a walk finds that there is room again.
func TestAWalkEndsTheTimeWithAFullQueue(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 1)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		connect(t, s.addr)
		connect(t, s.addr)
		full := func() time.Duration {
			check(t, tr.Walk())
			check(t, tr.Read(func(*event.Event) {}))
			return sampleOf(t, tr, s.addr).Full
		}
		if one := full(); full() <= one {
			t.Errorf("a full queue was full for %v, and is not for longer a walk later", one)
		}
		s.accept()
		s.accept()
		if one, other := full(), full(); one != other {
			t.Errorf("with room again: full %v and a walk later %v", one, other)
		}
	}, Restricted)
}
