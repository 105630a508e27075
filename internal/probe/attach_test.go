package probe

import (
	"cmp"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// Attaching takes a while, and in an incident connections come and go meanwhile: each
// is one that was queued at the start or one that entered the queue after, and not
// both, whatever happened to it before the first walk.
func TestAttachingWhileConnectionsComeAndGoKeepsTheBooks(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		for _, c := range []struct {
			name          string
			held, blocked bool
		}{
			{name: "a slow server"},
			{name: "held by a process", held: true},
			{name: "threads that block in accept", blocked: true},
		} {
			t.Run(c.name, func(t *testing.T) { attachAmidTraffic(t, m, c.held, c.blocked) })
		}
	}, Fentry, Kprobe)
}

func attachAmidTraffic(t *testing.T, m Mode, held, blocked bool) {
	const waiting = 50
	s := listen(t, "127.0.0.1:0", 4096)
	for range waiting {
		connect(t, s.addr)
	}
	c := comeSlowly(t, s)
	if blocked {
		c.acceptAll(t, 3)
	} else {
		c.acceptEveryOther(t)
	}
	c.comeUntilStopped(t)
	time.Sleep(100 * time.Millisecond)
	asked := onPort(s.addr.Port())
	if held {
		asked.PIDs = []int{os.Getpid()}
	}
	came, went := c.came.Load(), c.went.Load()
	tr := must(Open(Options{Mode: m, Filter: asked}))(t)
	defer func() { check(t, tr.Close()) }()
	if held { // none is, for who looks for holders, until they are found
		check(t, tr.SetHeld([]Held{s.held()}))
	}
	c.hurry.Store(true)
	// By then, but for one that may be neither here nor there.
	most, least := waiting+c.came.Load()-went+1, waiting+came-c.went.Load()-1
	table, look := tableOf(t, tr, held)
	for range 6 {
		look()
		time.Sleep(50 * time.Millisecond)
	}
	c.stop()
	var row listener.Row
	var left int64
	for range 50 { // until the last accept has been counted
		look()
		row, left = rowOf(t, table, s.addr), waiting+c.came.Load()-c.went.Load()
		if row.Lost == 0 && int64(row.Depth) == left {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	queued := int64(row.QueuedAtAttach)
	if row.Lost != 0 || int64(row.Depth) != left || !row.AttachKnown || queued < least || queued > most ||
		queued+int64(row.Enqueued) > waiting+c.came.Load() {
		t.Errorf("%d waited, %d came and %d went, %d unexplained: %d queued at start, want %d to %d, %d enqueued, %d accepted, %d in the queue, want %d",
			waiting, c.came.Load(), c.went.Load(), row.Lost, queued, least, most, row.Enqueued, row.Accepted, row.Depth, left)
	}
}

// The same of those that give up: each was dead at the start, or dies after.
func TestAttachingWhileClientsGiveUpCountsEachOnce(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 4096)
		c := comeSlowly(t, s)
		closed, reset := c.twoInThreeGiveUp(t)
		c.comeUntilStopped(t)
		time.Sleep(500 * time.Millisecond)
		before := c.came.Load()
		tr := must(Open(Options{Mode: m, Filter: onPort(s.addr.Port())}))(t)
		defer func() { check(t, tr.Close()) }()
		meanwhile := c.came.Load() - before + 1
		c.hurry.Store(true)
		table, look := tableOf(t, tr, false)
		for range 4 {
			look()
			time.Sleep(50 * time.Millisecond)
		}
		c.stop()
		var row listener.Row
		gone := uint64(*closed + *reset)
		for range 50 { // until the last one's death has been counted
			look()
			if row = rowOf(t, table, s.addr); row.DeadAtAttach+row.Dead() == gone {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		came, in := c.came.Load(), int64(row.QueuedAtAttach+row.Enqueued)
		// Where no books of a listener are kept, what comes in the milliseconds that
		// attaching takes can be neither.
		least := came
		if m == Restricted {
			least -= meanwhile
		}
		if row.DeadAtAttach+row.Dead() != gone || in < least || in > came || row.Lost != 0 || int64(row.Depth) != came {
			t.Errorf("%d came, %d hung up and %d reset; %d were dead at the start, then %d hung up and %d reset; %d came in, %d unexplained, %d in the queue",
				came, *closed, *reset, row.DeadAtAttach, row.CloseWait, row.Reset, in, row.Lost, row.Depth)
		}
		if u := row.Unaccepted; int(u.CloseWait) != *closed || int(u.Close) != *reset {
			t.Errorf("%d hung up and %d reset, of which wait %d and %d", *closed, *reset, u.CloseWait, u.Close)
		}
		if row.DeadAtAttach == 0 || row.CloseWait == 0 || row.Reset == 0 {
			t.Errorf("%d were dead at the start, then %d hung up and %d reset: each is to happen", row.DeadAtAttach, row.CloseWait, row.Reset)
		}
	}, Fentry, Kprobe, Restricted)
}

// crowd are connections that come to a listener.
type crowd struct {
	s          *server
	came, went atomic.Int64
	hurry      atomic.Bool    // from then on ten times as many come
	each       func()         // takes part after one has come
	open       []int          // their descriptors
	going      sync.WaitGroup // threads that take them out
	stop       func()         // no more come
}

func comeSlowly(t *testing.T, s *server) *crowd {
	t.Helper()
	return &crowd{s: s, each: func() {}}
}

// comeUntilStopped has them come, some fifty a second or five hundred.
func (c *crowd) comeUntilStopped(t *testing.T) {
	t.Helper()
	const most = 3000
	var stop atomic.Bool
	var coming sync.WaitGroup
	coming.Go(func() {
		for !stop.Load() {
			if c.came.Load() == most {
				t.Errorf("%d connections came before all was seen", most)
				return
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			c.open = append(c.open, fd)
			if err := unix.Connect(fd, sockaddr(c.s.addr)); err != nil {
				t.Error(err)
				return
			}
			c.came.Add(1)
			c.each()
			if c.hurry.Load() {
				time.Sleep(2 * time.Millisecond)
			} else {
				time.Sleep(20 * time.Millisecond)
			}
		}
	})
	c.stop = func() {
		stop.Store(true)
		coming.Wait()
	}
	t.Cleanup(func() {
		c.stop()
		unix.Shutdown(c.s.fd, unix.SHUT_RD)
		c.going.Wait()
		for _, fd := range c.open {
			unix.Close(fd)
		}
	})
}

// accept takes one out of the queue; it reports false when the listener is shut down.
func (c *crowd) accept() bool {
	fd, err := acceptCall(c.s.fd)
	for err == unix.EINTR {
		fd, err = acceptCall(c.s.fd)
	}
	if err != nil {
		return false
	}
	c.went.Add(1)
	unix.Close(fd)
	return true
}

// acceptAll has threads that block in accept().
func (c *crowd) acceptAll(t *testing.T, threads int) {
	t.Helper()
	for range threads {
		c.going.Go(func() {
			for c.accept() {
			}
		})
	}
}

func (c *crowd) acceptEveryOther(t *testing.T) {
	t.Helper()
	c.each = func() {
		if c.came.Load()%2 == 0 && !c.accept() {
			t.Error("the listener is shut down")
		}
	}
}

// twoInThreeGiveUp has every third hang up soon, and every third reset. The counts are
// to be read when no more come.
func (c *crowd) twoInThreeGiveUp(t *testing.T) (closed, reset *int) {
	t.Helper()
	closed, reset = new(int), new(int)
	kept := 0
	c.each = func() {
		if len(c.open)-kept < 5 {
			return
		}
		fd := c.open[kept]
		switch c.came.Load() % 3 {
		case 0:
			*closed++
		case 1:
			*reset++
			check(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		default:
			kept++
			return
		}
		unix.Close(fd)
		c.open = append(c.open[:kept], c.open[kept+1:]...)
	}
	return closed, reset
}

// tableOf is the table of what a tracer that was just opened sees, and what brings it
// up to date.
func tableOf(t *testing.T, tr *Tracer, held bool) (table *listener.Table, look func()) {
	t.Helper()
	table = listener.New(listener.Options{
		StallAfter: time.Hour, Start: cmp.Or(tr.Began(), monotonic()), Sampled: tr.Mode() == string(Restricted),
		ByHolder: held,
	})
	return table, func() {
		t.Helper()
		check(t, tr.Walk())
		check(t, tr.Read(func(e *event.Event) { table.Apply(e, nil) }))
		table.Update(must(tr.Sample(true))(t), nil)
	}
}

func rowOf(t *testing.T, table *listener.Table, at netip.AddrPort) listener.Row {
	t.Helper()
	for _, row := range table.Rows() {
		if row.Key.Addr == at {
			return row
		}
	}
	t.Fatalf("no row of %s", at)
	return listener.Row{}
}
