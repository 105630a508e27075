//go:build kernel

package kerneltest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// Servers as they are in the world, each stalled and then going on: what is
// traced, what ss shows and what the clients know must be the same.

// clients come to a server that is stalled, as many as its queue takes.
const clients = 20

func TestServerStallsAndRecovers(t *testing.T) {
	everyExactMode(t, func(t *testing.T, mode string) {
		for _, p := range serverPrograms() {
			t.Run(p.name, func(t *testing.T) {
				s, tr := startTraced(t, mode, &p)
				served := serveSome(t, &p, s, tr)

				goOn := p.stall(t, s, tr, &served)
				c := comeAndLeave(t, &p, s)
				c.wantTold(t, s, tr)
				tr.awaitEvents("stall", 1)

				released := time.Now()
				goOn()
				accepted := tr.told("accepted", served+len(c.all))[served:]
				c.wantAccepted(t, accepted, released, time.Now())
				wantAcceptors(t, &p, s, accepted)
				for _, patient := range c.patient {
					p.wantServed(s, patient)
				}
				tr.awaitEvents("stall_end", 1)
				await(t, "an empty queue", func() bool { return queued(s.listening(ss(t))) == 0 })
				tr.stop()
				c.wantOrder(t, tr, "accepted")
				c.wantBooks(t, s, tr, books{accepted: served + len(c.all)})
			})
		}
	})
}

func TestServerKilledWhileStalled(t *testing.T) {
	everyExactMode(t, func(t *testing.T, mode string) {
		for _, name := range []string{"redis", "nginx_reuseport"} {
			t.Run(name, func(t *testing.T) {
				p := programNamed(t, name)
				s, tr := startTraced(t, mode, p)
				served := serveSome(t, p, s, tr)
				p.stall(t, s, tr, &served)
				c := comeAndLeave(t, p, s)
				c.wantTold(t, s, tr)
				tr.awaitEvents("stall", 1)

				s.kill()
				tr.told("purged", len(c.all))
				await(t, "no listener", func() bool { return len(s.listening(ss(t))) == 0 })
				tr.stop()
				c.wantOrder(t, tr, "purged")
				c.wantBooks(t, s, tr, books{accepted: served, purged: len(c.all)})
			})
		}
	})
}

// In a SO_REUSEPORT group the kernel chooses the socket, and a worker that is
// stopped keeps what it was given, while the others serve.
func TestStoppedWorkerOfReuseportGroup(t *testing.T) {
	everyExactMode(t, func(t *testing.T, mode string) {
		p := programNamed(t, "nginx_reuseport")
		s, tr := startTraced(t, mode, p)
		served := serveSome(t, p, s, tr)
		stopped := s.workers()[0]
		s.halt(stopped)

		// One by one, until both workers were given some.
		c := &crowd{}
		lucky := 0
		for deadline := time.Now().Add(patience); len(c.all) < 3 || lucky == 0; {
			if time.Now().After(deadline) {
				t.Fatalf("of the clients %d were served and %d were not", lucky, len(c.all))
			}
			one := call(t, s.to, p.ask)
			var given bool
			await(t, "its place", func() bool {
				rows := ss(t)
				row := s.rows(rows)[one.addr]
				given = row == nil || row.state != "ESTAB" || row.users != ""
				return given || s.socketOf(rows, stopped).recvQ == len(c.all)+1
			})
			if given {
				lucky++
				p.wantServed(s, one)
				check(t, one.Close())
			} else {
				c.all, c.finished = append(c.all, one), append(c.finished, one)
			}
		}
		for _, one := range c.all {
			one.giveUp(giveUpAfter, false)
		}
		c.awaitGone(t, s)
		c.wantTold(t, s, tr)
		tr.awaitEvents("stall", 1)

		released := time.Now()
		s.resume(stopped)
		accepted := tr.told("accepted", served+lucky+len(c.all))[served+lucky:]
		c.wantAccepted(t, accepted, released, time.Now())
		for _, e := range accepted {
			if e.PID != stopped {
				t.Errorf("accepted is %s; want it by %d, which was given it", describe(e), stopped)
			}
		}
		tr.awaitEvents("stall_end", 1)
		tr.stop()
		c.wantOrder(t, tr, "accepted")
		c.wantBooks(t, s, tr, books{accepted: served + lucky + len(c.all)})
	})
}

// everyExactMode is everyMode without restricted, which samples accepts: who did
// it, and most short waits, are not known there.
func everyExactMode(t *testing.T, test func(t *testing.T, mode string)) {
	t.Helper()
	for _, mode := range modes(t) {
		if mode != "restricted" {
			t.Run(mode, func(t *testing.T) { test(t, mode) })
		}
	}
}

// startTraced starts a server and a trace of it.
func startTraced(t *testing.T, mode string, p *serverProgram) (*server, trace) {
	t.Helper()
	s := p.start(t)
	await(t, "the sockets", func() bool { return len(s.listening(ss(t))) == p.sockets })
	await(t, "the workers", func() bool { return len(s.workers()) == p.workers })
	return s, traceJSON(t, mode, "--port", portOf(t, s.to))
}

// serveSome checks that the server serves, and by whom, and returns how many it
// did when it has none left.
func serveSome(t *testing.T, p *serverProgram, s *server, tr trace) int {
	t.Helper()
	const some = 4
	for i := range some {
		c := call(t, s.to, p.ask)
		p.wantServed(s, c)
		answered := time.Now()
		check(t, c.Close())
		e := tr.told("accepted", i+1)[i]
		if e.Peer != c.addr || e.Listener != s.at || e.State != "ESTABLISHED" {
			t.Errorf("accepted is %s; want that of %s at %s", describe(e), c.addr, s.at)
		}
		if wait := e.wait(t); e.Wait != nil && (wait < 0 || wait > answered.Sub(c.started)+time.Microsecond) {
			t.Errorf("accepted after %v; want at most %v", wait, answered.Sub(c.started))
		}
	}
	wantAcceptors(t, p, s, tr.told("accepted", some))
	await(t, "the end of what was served", func() bool {
		for _, row := range s.rows(ss(t)) {
			if row.state != "TIME-WAIT" {
				return false
			}
		}
		return true
	})
	return some
}

// wantServed checks that the server knows a client.
func (p *serverProgram) wantServed(s *server, c *caller) {
	s.t.Helper()
	if p.answer == "" {
		s.awaitLine(c.addr)
		return
	}
	c.wantAnswer(p.answer)
}

// wantAcceptors checks that connections were accepted by threads that the server
// has.
func wantAcceptors(t *testing.T, p *serverProgram, s *server, accepted []told) {
	t.Helper()
	all := s.threads()
	for _, e := range accepted {
		i := slices.IndexFunc(all, func(th thread) bool { return th.pid == e.PID && th.tid == e.TID })
		if i < 0 || all[i].name != e.Comm || e.Comm != p.accepting {
			t.Errorf("accepted is %s; want one of the threads %+v, called %s", describe(e), all, p.accepting)
		}
		if ofWorker := e.PID != s.pid(); ofWorker != (p.workers > 0) {
			t.Errorf("accepted is %s; the first process is %d of %d workers", describe(e), s.pid(), p.workers)
		}
	}
}

// stall keeps the server from accepting. What it returns lets it go on.
func (p *serverProgram) stall(t *testing.T, s *server, tr trace, served *int) (goOn func()) {
	t.Helper()
	if p.blocker == "" {
		pids := append(s.workers(), s.pid())
		s.halt(pids...)
		return func() { s.resume(pids...) }
	}
	blocker := call(t, s.to, p.blocker)
	s.awaitLine(strings.TrimSpace(p.blocker))
	*served++
	tr.told("accepted", *served)
	return func() { p.goOn(s, blocker) }
}

// told is a line of the trace with what is of interest here.
type told struct {
	record
	TID         int
	Lost        *int `json:"lost"`
	Refused     int  `json:"overflow_syn"`
	RefusedLate int  `json:"overflow_last_ack"`
}

// told polls until there are n events of a kind, and returns them. More than n
// are an error.
func (tr trace) told(kind string, n int) []told {
	tr.t.Helper()
	tr.awaitEvents(kind, n)
	var list []told
	for _, line := range tr.lines() {
		var e told
		check(tr.t, json.Unmarshal([]byte(line), &e))
		if e.Type == "event" && e.Event == kind {
			list = append(list, e)
		}
	}
	if len(list) != n {
		tr.t.Fatalf("%d %s, want %d: %s", len(list), kind, n, describe(list))
	}
	return list
}
