//go:build kernel

package kerneltest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// giveUpAfter is the patience of clients.
const giveUpAfter = 100 * time.Millisecond

// crowd are the clients in the queue of a stalled server.
type crowd struct {
	all      []*caller // as they came
	finished []*caller // those that closed their end
	reset    []*caller // those that closed it with RST
	patient  []*caller // those that stay
	refused  int       // those that found the queue full

	seen time.Time // ss showed what all of them had done before
}

// comeAndLeave sends clients to a stalled server, most of which give up.
func comeAndLeave(t *testing.T, p *serverProgram, s *server) *crowd {
	t.Helper()
	fit := clients
	if rows := s.listening(ss(t)); p.sockets == 1 {
		fit = min(clients, rows[0].sendQ+1)
	}
	c := &crowd{}
	for range fit {
		c.all = append(c.all, call(t, s.to, p.ask))
	}
	if c.refused = clients - fit; c.refused > 0 {
		wantTurnedAway(t, s.to, c.refused, time.Second)
	}
	for i, one := range c.all {
		switch {
		case i == fit-1 || i%10 == 5:
			c.patient = append(c.patient, one)
		case i%4 == 3:
			one.giveUp(giveUpAfter, true)
			c.reset = append(c.reset, one)
		default:
			one.giveUp(giveUpAfter, false)
			c.finished = append(c.finished, one)
		}
	}
	c.awaitGone(t, s)
	return c
}

// awaitGone polls until ss shows what all have done, and checks that it shows
// nothing else.
func (c *crowd) awaitGone(t *testing.T, s *server) {
	t.Helper()
	var rows []socket
	await(t, "the end of those who gave up", func() bool {
		rows = ss(t)
		now := s.rows(rows)
		return !slices.ContainsFunc(c.finished, func(one *caller) bool {
			row := now[one.addr]
			return row == nil || row.state != "CLOSE-WAIT"
		}) && !slices.ContainsFunc(c.reset, func(one *caller) bool { return now[one.addr] != nil })
	})
	c.seen = time.Now()
	states := map[string][]string{}
	for peer, row := range s.rows(rows) {
		if row.users == "" && row.state != "TIME-WAIT" {
			states[row.state] = append(states[row.state], peer)
		}
	}
	for state, want := range map[string][]*caller{"CLOSE-WAIT": c.finished, "ESTAB": c.patient} {
		if got := slices.Sorted(slices.Values(states[state])); !slices.Equal(got, addresses(want)) {
			t.Errorf("ss shows without a process in %s %v; want %v", state, got, addresses(want))
		}
		delete(states, state)
	}
	if n := queued(s.listening(rows)); n != len(c.all) || len(states) > 0 {
		t.Errorf("ss shows Recv-Q %d, and %v; want %d and nothing else", n, states, len(c.all))
	}
}

// wantTold checks that each that gave up was told once, with its age, and
// nobody else.
func (c *crowd) wantTold(t *testing.T, s *server, tr trace) {
	t.Helper()
	for _, kind := range []struct {
		name, state string
		want        []*caller
	}{{"close_wait", "CLOSE_WAIT", c.finished}, {"reset", "CLOSE", c.reset}} {
		var peers []string
		for _, e := range tr.told(kind.name, len(kind.want)) {
			peers = append(peers, e.Peer)
			one := c.find(e.Peer)
			if one == nil || e.Listener != s.at || e.State != kind.state {
				t.Errorf("%s is %s; want one of %v at %s", kind.name, describe(e), addresses(kind.want), s.at)
				continue
			}
			wantWithin(t, &e, one.gaveUp.Sub(one.queued), c.seen.Sub(one.started))
		}
		if slices.Sort(peers); !slices.Equal(peers, addresses(kind.want)) {
			t.Errorf("%s of %v; want %v", kind.name, peers, addresses(kind.want))
		}
	}
}

// wantAccepted checks that each was accepted once, between two moments, in the
// state that it left its connection in.
func (c *crowd) wantAccepted(t *testing.T, accepted []told, released, now time.Time) {
	t.Helper()
	var peers []string
	for _, e := range accepted {
		peers = append(peers, e.Peer)
		one := c.find(e.Peer)
		if one == nil {
			continue
		}
		want := "ESTABLISHED"
		switch {
		case slices.Contains(c.finished, one):
			want = "CLOSE_WAIT"
		case slices.Contains(c.reset, one):
			want = "CLOSE"
		}
		if e.State != want {
			t.Errorf("accepted is %s; want %s", describe(e), want)
		}
		wantWithin(t, &e, released.Sub(one.queued), now.Sub(one.started))
	}
	if slices.Sort(peers); !slices.Equal(peers, addresses(c.all)) {
		t.Errorf("accepted were %v; want %v", peers, addresses(c.all))
	}
}

// wantWithin checks the wait of an event, which the kernel has in µs.
func wantWithin(t *testing.T, e *told, least, most time.Duration) {
	t.Helper()
	if wait := e.wait(t); wait < least-time.Microsecond || wait > most+time.Microsecond {
		t.Errorf("%s after %v; want %v to %v: %s", e.Event, wait, least, most, describe(e))
	}
}

// wantOrder checks that a death was told before what came of it.
func (c *crowd) wantOrder(t *testing.T, tr trace, end string) {
	t.Helper()
	for _, one := range c.all {
		want := end
		switch {
		case slices.Contains(c.finished, one):
			want = "close_wait " + end
		case slices.Contains(c.reset, one):
			want = "reset " + end
		}
		if got := order(tr, one.addr); got != want {
			t.Errorf("told of %s was %q; want %q", one.addr, got, want)
		}
	}
}

// books are what a listener was seen to do.
type books struct{ accepted, purged int }

// wantBooks checks the line of the listener at the end, and the summary.
func (c *crowd) wantBooks(t *testing.T, s *server, tr trace, want books) {
	t.Helper()
	first, last := tr.first(s.at), tr.last(s.at)
	depth := 0
	if last.Depth != nil {
		depth = *last.Depth
	}
	if in, out := *first.Depth+last.Enqueued, last.Accepted+last.Purged+depth; in != out || depth != 0 {
		t.Errorf("%d went in, %d out, %d are left; want as many, and none left: %s", in, out, depth, describe(last))
	}
	var end told
	for _, line := range tr.lines() {
		var r told
		check(t, json.Unmarshal([]byte(line), &r))
		if r.Type == "listener" && r.Listener == s.at {
			end = r
		}
	}
	if end.Lost == nil || *end.Lost != 0 {
		t.Errorf("at the end %s; want 0 lost", describe(end))
	}
	// A client sends its SYN again when nobody answers.
	refused := map[string]bool{}
	for _, e := range tr.events("overflow") {
		refused[e.Peer] = true
	}
	if len(refused) != c.refused || end.Refused < c.refused || c.refused == 0 && end.Refused > 0 || end.RefusedLate > 0 {
		t.Errorf("at the end %s, and %v were refused; want %d clients, at the SYN", describe(end), refused, c.refused)
	}
	for _, r := range []record{last, tr.summary()} {
		if r.Accepted != want.accepted || r.Purged != want.purged || r.CloseWait != len(c.finished) || r.Reset != len(c.reset) {
			t.Errorf("at the end %s; want %+v, %d close_wait, %d reset", describe(r), want, len(c.finished), len(c.reset))
		}
	}
	if n, ended := len(tr.events("stall")), len(tr.events("stall_end")); n == 0 || n != ended {
		t.Errorf("%d stalls, of which %d ended", n, ended)
	}
}

func (c *crowd) find(addr string) *caller {
	i := slices.IndexFunc(c.all, func(one *caller) bool { return one.addr == addr })
	if i < 0 {
		return nil
	}
	return c.all[i]
}

func addresses(list []*caller) []string {
	var all []string
	for _, one := range list {
		all = append(all, one.addr)
	}
	slices.Sort(all)
	return all
}

// listening are the LISTEN rows of the server.
func (s *server) listening(rows []socket) []socket {
	var list []socket
	for _, row := range rows {
		if row.state == "LISTEN" && row.local == s.shown {
			list = append(list, row)
		}
	}
	return list
}

// queued is the sum of Recv-Q.
func queued(listening []socket) int {
	n := 0
	for _, row := range listening {
		n += row.recvQ
	}
	return n
}

// rows are the server's ends of its connections, by the client's address.
func (s *server) rows(rows []socket) map[string]*socket {
	plain := strings.NewReplacer("[::ffff:", "", "]", "")
	list := map[string]*socket{}
	for i := range rows {
		if row := &rows[i]; row.state != "LISTEN" && plain.Replace(row.local) == s.to {
			list[plain.Replace(row.peer)] = row
		}
	}
	return list
}
