//go:build kernel

package kerneltest

import (
	"encoding/json"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the program is about, with real servers and real clients: a client in
// the queue is interrupted, and its connection is dead before it is accepted.

// client is a netcat with an IP address of its own.
type client struct {
	*process
	ip   string
	peer string // its address, as the server sees it

	// Moments of the test's clock: the connection was queued after started and
	// before queued, and closed after interrupted and before closed.
	started, queued, interrupted, closed time.Time
}

// connect runs a netcat and returns when the kernel at the other end has a
// connection of it.
func connect(t *testing.T, ip, server string) *client {
	t.Helper()
	host, port, err := net.SplitHostPort(server)
	check(t, err)
	c := &client{ip: ip, started: time.Now()}
	c.process = start(t, "nc", "-s", ip, host, port)
	await(t, "the connection from "+ip, func() bool {
		row := from(ss(t), server, ip)
		if row != nil {
			c.peer = row.peer
		}
		return row != nil && row.state == "ESTAB"
	})
	c.queued = time.Now()
	return c
}

// interrupt is Ctrl-C. It returns when the server's end is in CLOSE_WAIT.
func (c *client) interrupt(server string) {
	c.t.Helper()
	c.interrupted = time.Now()
	c.signal(syscall.SIGINT)
	await(c.t, "CLOSE-WAIT of the connection from "+c.ip, func() bool {
		row := from(ss(c.t), server, c.ip)
		return row != nil && row.state == "CLOSE-WAIT"
	})
	c.closed = time.Now()
}

// awaitServed polls until a process has the connection, and the queue is empty.
func (c *client) awaitServed(server string) {
	c.t.Helper()
	await(c.t, "accept of the connection from "+c.ip, func() bool {
		rows := ss(c.t)
		row, listener := from(rows, server, c.ip), listening(rows, server)
		return row != nil && row.users != "" && listener != nil && listener.recvQ == 0
	})
}

// unusedAddress is one of loopback that nobody listens on.
func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	check(t, err)
	return port
}

// wantOneCloseWait checks that exactly one connection was told to have died
// before accept: this one, with its age.
func wantOneCloseWait(t *testing.T, tr trace, server string, c *client) {
	t.Helper()
	all := tr.awaitEvents("close_wait", 1)
	if len(all) != 1 {
		t.Fatalf("%d close_wait, want 1: %s", len(all), describe(all))
	}
	e := all[0]
	if e.Listener != server || e.Peer != c.peer || e.State != "CLOSE_WAIT" {
		t.Errorf("close_wait is %s; want that of %s at %s", describe(e), c.peer, server)
	}
	// The kernel notes the time in whole microseconds.
	least, most := c.interrupted.Sub(c.queued)-time.Microsecond, c.closed.Sub(c.started)+time.Microsecond
	if wait := e.wait(t); wait < least || wait > most {
		t.Errorf("close_wait after %v; want %v to %v", wait, least, most)
	}
}

func describe(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestNetcatQueuedClientInterrupted(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		at := unusedAddress(t)
		host, port, err := net.SplitHostPort(at)
		check(t, err)
		server := start(t, "nc", "-l", host, port)
		await(t, "the listener", func() bool { return listening(ss(t), at) != nil })
		first := connect(t, "127.0.1.1", at)
		first.awaitServed(at)

		// The duration is a limit only: Ctrl-C comes long before.
		tr := traceJSON(t, mode, "--port", port, "--duration", "10m")
		text := traceText(t, mode, "--port", port, "--no-color")
		wantAsSS(t, tr.first(at), ss(t))
		second := connect(t, "127.0.1.2", at)
		third := connect(t, "127.0.1.3", at)
		second.interrupt(at)
		wantOneCloseWait(t, tr, at, second)
		text.awaitLine("CLOSE_WAIT before accept")

		shown := ssText(t)
		tr.stop()
		rows := parseSS(t, shown)
		if row := from(rows, at, second.ip); row.state != "CLOSE-WAIT" || row.users != "" || row.peer != second.peer {
			t.Errorf("ss shows %+v; want CLOSE-WAIT and no process", row)
		}
		if row := from(rows, at, third.ip); row.state != "ESTAB" || row.users != "" {
			t.Errorf("ss shows %+v; want ESTAB and no process", row)
		}
		last := tr.last(at)
		wantAsSS(t, last, rows)
		if u := last.Unaccepted; *u.Established != 1 || u.CloseWait != 1 || last.CloseWait != 1 || *last.HeldCloseWait != 0 {
			t.Errorf("at the end %s; want one dead and one alive in the queue", describe(last))
		}
		if len(last.Owners) != 1 || last.Owners[0].PID != server.pid() {
			t.Errorf("owners %v; want %d", last.Owners, server.pid())
		}
		if got := tr.events("accepted"); len(got) != 0 {
			t.Errorf("nobody accepted, but told was %s", describe(got))
		}
		if s := tr.summary(); s.CloseWait != 1 || s.Mode != mode {
			t.Errorf("summary %s; want 1 close_wait in mode %s", describe(s), mode)
		}
		wantOneCloseWait(t, tr, at, second)

		// When its only client goes, netcat ends, and the queue with it.
		first.signal(syscall.SIGINT)
		server.exit()
		text.await("what was purged", func() bool { return text.count(" purged ") == 2 })
		text.stop()
		for _, want := range []string{"CLOSE_WAIT before accept", "1 close_wait", "2 purged"} {
			if n := text.count(want); n != 1 {
				t.Errorf("%q is in %d lines, want 1", want, n)
			}
		}
		t.Logf("ss -tanp:\n%s\nacceptwatch trace --port %s:\n%s", shown, port, text.everything())
	})
}

// pythonServer runs a script of testdata, and returns the address that it
// listens on.
func pythonServer(t *testing.T, script string) (*process, string) {
	t.Helper()
	p := start(t, "python3", "-I", "testdata/"+script)
	return p, strings.TrimPrefix(p.awaitLine("listening "), "listening ")
}

func TestPythonServerOneAtATime(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		server, at := pythonServer(t, "one_at_a_time.py")
		server.say("next")
		first := connect(t, "127.0.1.1", at)
		server.awaitLine("accepted " + first.peer)

		tr := traceJSON(t, mode, "--port", portOf(t, at))
		second := connect(t, "127.0.1.2", at)
		third := connect(t, "127.0.1.3", at)
		second.interrupt(at)
		wantOneCloseWait(t, tr, at, second)
		rows := ss(t)
		if row := listening(rows, at); row.recvQ != 2 || row.sendQ != 1 {
			t.Errorf("ss shows %+v; want Recv-Q 2, Send-Q 1", row)
		}
		if got := tr.events("accepted"); len(got) != 0 {
			t.Errorf("nobody accepted, but told was %s", describe(got))
		}

		// It goes on, and gets the dead one first.
		for i, c := range []*client{second, third} {
			released := time.Now()
			server.say("next")
			server.awaitLine("accepted " + c.peer)
			e := tr.awaitEvents("accepted", i+1)[i]
			want := []string{"CLOSE_WAIT", "ESTABLISHED"}[i]
			if e.Peer != c.peer || e.Listener != at || e.State != want {
				t.Errorf("accept %d is %s; want %s of %s", i, describe(e), want, c.peer)
			}
			if row := listening(ss(t), at); e.Depth == nil || *e.Depth != row.recvQ || *e.Backlog != row.sendQ {
				t.Errorf("accept %d is %s; ss shows %+v", i, describe(e), row)
			}
			if least, most := released.Sub(c.queued)-time.Microsecond, time.Since(c.started); e.wait(t) < least || e.wait(t) > most {
				t.Errorf("accept %d after %v; want %v to %v", i, e.wait(t), least, most)
			}
			if mode != "restricted" && (e.PID != server.pid() || e.Comm != server.comm()) {
				t.Errorf("accept %d is %s; want it by %s[%d]", i, describe(e), server.comm(), server.pid())
			}
		}
		tr.stop()
		wantOneCloseWait(t, tr, at, second)
		if order := order(tr, second.peer); order != "close_wait accepted" {
			t.Errorf("told of %s was %q; want close_wait, then accepted", second.peer, order)
		}
		last := tr.last(at)
		wantAsSS(t, last, ss(t))
		if last.Accepted != 2 || last.Lost != 0 || last.CloseWait != 1 {
			t.Errorf("at the end %s; want 2 accepted, 1 close_wait, 0 lost", describe(last))
		}
	})
}

// order is what was told of a connection, in order.
func order(tr trace, peer string) string {
	var kinds []string
	for _, r := range tr.records() {
		if r.Type == "event" && r.Peer == peer {
			kinds = append(kinds, r.Event)
		}
	}
	return strings.Join(kinds, " ")
}
