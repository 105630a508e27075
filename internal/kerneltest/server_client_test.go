//go:build kernel

package kerneltest

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// caller is a client with a log of its own.
type caller struct {
	*net.TCPConn
	t    *testing.T
	addr string

	// Its connection was queued after started and before queued, and left
	// after gaveUp.
	started, queued, gaveUp time.Time
	withRST                 bool
}

// call connects and asks, with its address in place of ME, and returns when the
// other end has what it said.
func call(t *testing.T, to, ask string) *caller {
	t.Helper()
	return callBy(t, &net.Dialer{Timeout: patience}, to, ask)
}

func callBy(t *testing.T, dialer *net.Dialer, to, ask string) *caller {
	t.Helper()
	c := &caller{t: t, started: time.Now()}
	conn, err := dialer.Dial("tcp4", to)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	c.TCPConn, c.addr = conn.(*net.TCPConn), conn.LocalAddr().String()
	_, err = io.WriteString(c, strings.ReplaceAll(ask, "ME", c.addr))
	check(t, err)
	raw, err := c.SyscallConn()
	check(t, err)
	await(t, "acknowledgement", func() bool {
		unsent, bad := -1, error(nil)
		check(t, raw.Control(func(fd uintptr) { unsent, bad = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }))
		check(t, bad)
		return unsent == 0
	})
	c.queued = time.Now()
	return c
}

// wantAnswer checks how what the server says begins.
func (c *caller) wantAnswer(answer string) {
	c.t.Helper()
	check(c.t, c.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, len(answer))
	n, err := io.ReadFull(c, got)
	if err != nil || string(got) != answer {
		c.t.Errorf("the server answered %s with %q, %v; want %q", c.addr, got[:n], err, answer)
	}
}

// giveUp waits for an answer that does not come, and leaves.
func (c *caller) giveUp(timeout time.Duration, withRST bool) {
	c.t.Helper()
	check(c.t, c.SetReadDeadline(time.Now().Add(timeout)))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s read %d bytes, %v; want nobody to serve it", c.addr, n, err)
	}
	if c.withRST = withRST; withRST {
		check(c.t, c.SetLinger(0))
	}
	c.gaveUp = time.Now()
	check(c.t, c.Close())
}

// wantTurnedAway checks that n clients at once find the queue full.
func wantTurnedAway(t *testing.T, to string, n int, timeout time.Duration) {
	t.Helper()
	errs := make(chan error)
	for range n {
		go func() {
			c, err := net.DialTimeout("tcp4", to, timeout)
			if err == nil {
				c.Close()
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "timeout") {
			t.Errorf("a client that found the queue full has %v; want a timeout", err)
		}
	}
}
