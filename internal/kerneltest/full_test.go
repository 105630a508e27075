//go:build kernel

package kerneltest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/preflight"
)

// filler is a connection that fills a queue, queued between two moments.
type filler struct {
	addr          string
	state         string // that it was brought to
	before, after time.Time
}

// fill fills a queue: so many of the clients give up, spread evenly, of three
// two hang up and one resets.
func fill(t *testing.T, l *listener, size, dead int) []filler {
	t.Helper()
	at, err := netip.ParseAddrPort(l.addr)
	check(t, err)
	all := make([]filler, size)
	for i := range all {
		c := &all[i]
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(t, err)
		c.before = time.Now()
		check(t, unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}))
		c.after = time.Now()
		own, err := unix.Getsockname(fd)
		check(t, err)
		c.addr = netip.AddrPortFrom(netip.AddrFrom4(own.(*unix.SockaddrInet4).Addr), uint16(own.(*unix.SockaddrInet4).Port)).String()
		switch before := i * dead / size; {
		case (i+1)*dead/size == before:
			c.state = "ESTABLISHED"
			t.Cleanup(func() { unix.Close(fd) })
			continue
		case before%3 < 2:
			c.state = "CLOSE_WAIT"
		default:
			c.state = "CLOSE"
			check(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		}
		check(t, unix.Close(fd))
	}
	return all
}

// A listener whose queue has been full for a while, most of it dead: all of it is
// seen at once, and followed until the last has left.
func TestAttachToAFullQueue(t *testing.T) {
	size, dead := 4096, 3000
	if !preflight.DetectWalk().Loop.OK() {
		size, dead = 512, 375 // all that a walk looks at
	}
	// exactly is what counts as exact: two clocks are read one after the other,
	// and the server has queued a connection a moment after its client has it.
	const exactly = 20 * time.Millisecond
	everyMode(t, func(t *testing.T, mode string) {
		l := listen(t, "127.0.0.1:0", size-1)
		all := fill(t, l, size, dead)
		states := map[string]int{}
		for i := range all {
			states[all[i].state]++
		}
		if states["CLOSE_WAIT"]+states["CLOSE"] != dead {
			t.Fatalf("made %v", states)
		}
		awaitStates(t, l.addr, states["CLOSE_WAIT"], states["ESTABLISHED"])
		if _, err := net.DialTimeout("tcp4", l.addr, 100*time.Millisecond); err == nil {
			t.Fatal("a full queue took one more")
		}

		idle := listen(t, "127.0.0.1:0", 1)
		starting := time.Now()
		traceJSON(t, mode, "--port", portOf(t, idle.addr)).stop()
		withoutAny := time.Since(starting)
		starting = time.Now()
		tr := traceJSON(t, mode, "--port", portOf(t, l.addr))
		shown := time.Now()
		t.Logf("mode %s: %d queued were shown %v after the start; start, nothing queued and end take %v", mode, size, shown.Sub(starting), withoutAny)
		first := tr.first(l.addr)
		wantAsSS(t, first, ss(t))
		u := first.Unaccepted
		if *first.Depth != size || *u.Established != states["ESTABLISHED"] || u.CloseWait != states["CLOSE_WAIT"] || u.Close != states["CLOSE"] {
			t.Errorf("at the start %s; want %v", describe(first), states)
		}
		if least, most := starting.Sub(all[0].after)-exactly, shown.Sub(all[0].before)+exactly; first.Oldest == nil || *first.Oldest < least || *first.Oldest > most {
			t.Errorf("at the start %s; want the oldest %v to %v old", describe(first), least, most)
		}

		for range size {
			fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
			check(t, err)
			check(t, unix.Close(fd))
		}
		tr.await("every accept", func() bool { return tr.count(`"event":"accepted"`) >= size })
		tr.stop()
		got := tr.events("accepted")
		if len(got) != size {
			t.Fatalf("%d accepted, want %d", len(got), size)
		}
		wrong := 0
		for i, e := range got {
			queued := e.Time.Add(-e.wait(t)) // by the wall clock, which the event's time is of
			c := &all[i]
			if e.Peer != c.addr || e.State != c.state ||
				queued.Before(c.before.Round(0).Add(-exactly)) || queued.After(c.after.Round(0).Add(exactly)) {
				if wrong++; wrong <= 3 {
					t.Errorf("accept %d is %s, queued at %v; want %s of %s between %v and %v", i, describe(e), queued, c.state, c.addr, c.before, c.after)
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%d of %d are wrong", wrong, size)
		}
		last := tr.last(l.addr)
		if *last.Depth != 0 || last.Accepted != size || last.Lost != 0 || last.Purged != 0 || last.CloseWait != 0 || last.Reset != 0 {
			t.Errorf("at the end %s; want %d accepted, none lost, none left, and no deaths but those before", describe(last), size)
		}
	})
}
