package probe

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// Deaths in the queue, in every mode: the state hook alone sees them.

func TestFinWhileQueuedIsCloseWait(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		before := monotonic()
		c := connect(t, s.addr)
		connected := monotonic()
		c.send("hello")
		time.Sleep(50 * time.Millisecond)
		hangUp := monotonic()
		c.close()
		closed := monotonic()

		events := readUntil(t, tr, has(1, s.addr, event.CloseWait))
		e := only(events, s.addr, event.CloseWait)[0]
		wait, known := e.Wait()
		if e.Peer != c.local || e.State != event.CloseWaited || e.Unread != 5 || e.Errno != 0 {
			t.Errorf("got %s", describe(events))
		}
		if lo, hi := time.Duration(hangUp-connected), time.Duration(closed-before)+time.Microsecond; !known || wait < lo || wait > hi {
			t.Errorf("wait %v is not between %v and %v", wait, lo, hi)
		}

		s.accept()
		events = readUntil(t, tr, has(1, s.addr, event.Accepted))
		if a := only(events, s.addr, event.Accepted)[0]; a.State != event.CloseWaited || a.Peer != c.local {
			t.Errorf("accepted: %s", describe(events))
		}
		if at := addressOf(t, tr, s.addr); at.CloseWait != 1 || at.Reset != 0 {
			t.Errorf("counted %+v", at)
		}
		if l := sampleOf(t, tr, s.addr); l.Accepted != 1 || l.AcceptedCloseWait != 1 || l.AcceptedReset != 0 {
			t.Errorf("counted %+v", l)
		}
	}, Fentry, Kprobe, Restricted)
}

func TestResetWhileQueued(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		c := connect(t, s.addr)
		readAll(t, tr, 3*sampleEvery)
		c.reset()
		events := readUntil(t, tr, has(1, s.addr, event.Reset))
		if e := only(events, s.addr, event.Reset)[0]; e.Peer != c.local || e.State != event.Close || e.Errno != uint16(unix.ECONNRESET) || e.Flags&event.AfterFIN != 0 {
			t.Errorf("got %s", describe(events))
		}
		s.accept()
		events = readUntil(t, tr, has(1, s.addr, event.Accepted))
		if a := only(events, s.addr, event.Accepted)[0]; a.State != event.Close || a.Peer != c.local || a.Local != s.addr {
			t.Errorf("accepted: %s", describe(events))
		}
		if at := addressOf(t, tr, s.addr); at.Reset != 1 || at.ResetAfterFIN != 0 || at.CloseWait != 0 {
			t.Errorf("counted %+v", at)
		}
		if l := sampleOf(t, tr, s.addr); l.AcceptedReset != 1 {
			t.Errorf("counted %+v", l)
		}
	}, Fentry, Kprobe, Restricted)
}

func TestFinThenResetIsOneDeadConnection(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		c := connect(t, s.addr)
		c.send("hello")
		check(t, unix.Shutdown(c.fd, unix.SHUT_WR))
		readUntil(t, tr, has(1, s.addr, event.CloseWait))
		c.reset()
		events := readUntil(t, tr, has(1, s.addr, event.Reset))
		if e := only(events, s.addr, event.Reset)[0]; e.Errno != uint16(unix.EPIPE) || e.Flags&event.AfterFIN == 0 {
			t.Errorf("got %s", describe(events))
		}
		if at := addressOf(t, tr, s.addr); at.CloseWait != 1 || at.Reset != 1 || at.ResetAfterFIN != 1 {
			t.Errorf("counted %+v", at)
		}
	}, Fentry, Kprobe, Restricted)
}

func TestOrdinaryCloseIsNoDeath(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		for i := range 20 {
			c := connect(t, s.addr)
			fd := s.accept()
			switch i % 4 {
			case 0: // the client closes first, the server later
				c.close()
			case 1: // the server closes first
				check(t, unix.Shutdown(fd, unix.SHUT_RDWR))
			case 2: // the client resets what was accepted
				c.reset()
			}
		}
		events := readAll(t, tr, 5*sampleEvery)
		if dead := only(events, s.addr, event.CloseWait, event.Reset, event.Purged); len(dead) > 0 {
			t.Errorf("deaths that were none:\n%s", describe(dead))
		}
	}, Fentry, Kprobe, Restricted)
}

func TestListenerClosedWithHundredQueued(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const all, finished, reset = 100, 30, 20
		s := listen(t, "127.0.0.1:0", all)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		for i := range all {
			c := connect(t, s.addr)
			switch {
			case i < finished:
				c.close()
			case i < finished+reset:
				c.reset()
			}
		}
		readUntil(t, tr, has(finished+reset, s.addr, event.CloseWait, event.Reset))
		readAll(t, tr, 3*sampleEvery)
		s.close()
		events := readUntil(t, tr, has(all, s.addr, event.Purged))
		readAll(t, tr, 3*sampleEvery)
		states := map[event.State]int{}
		peers := map[netip.AddrPort]bool{}
		for _, e := range only(events, s.addr, event.Purged) {
			states[e.State]++
			peers[e.Peer] = true
		}
		if len(peers) != all || states[event.CloseWaited] != finished || states[event.Close] != reset {
			t.Errorf("%d different peers purged, by state %v", len(peers), states)
		}
		l := sampleOf(t, tr, s.addr)
		if !l.Closed || l.Purged != all || l.PurgedDead != finished+reset || l.Accepted != 0 || l.Depth != 0 {
			t.Errorf("counted %+v", l)
		}
		if m != Restricted && l.Enqueued != all {
			t.Errorf("%d enqueued, want %d", l.Enqueued, all)
		}
		if at := addressOf(t, tr, s.addr); at.CloseWait != finished || at.Reset != reset {
			t.Errorf("a purge was counted as a death: %+v", at)
		}
	}, Fentry, Kprobe, Restricted)
}
