package probe

import (
	"cmp"
	"net/netip"
	"os"
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
		const waiting = 50
		for _, held := range []bool{false, true} {
			s := listen(t, "127.0.0.1:0", 4096)
			for range waiting {
				connect(t, s.addr)
			}
			var comers atomic.Int64
			traffic := comeAndGoSlowly(t, s, &comers)
			asked := onPort(s.addr.Port())
			if held {
				asked.PIDs = []int{os.Getpid()}
			}
			tr := must(Open(Options{Mode: m, Filter: asked}))(t)
			if held { // none is, for who looks for holders, until they are found
				check(t, tr.SetHeld([]Held{s.held()}))
			}
			most := uint64(waiting + comers.Load() + 1)
			table, look := tableOf(t, tr)
			look()
			look()
			went := traffic()
			came := comers.Load()
			look()
			left := uint32(waiting + came - went)
			row := rowOf(t, table, s.addr)
			if in := row.QueuedAtAttach + row.Enqueued; in > uint64(waiting+came) || row.QueuedAtAttach > most ||
				row.Lost != 0 || row.Depth != left || !row.AttachKnown {
				t.Errorf("%d waited, %d came and %d went meanwhile, %d unexplained: %d queued at start, %d enqueued, %d accepted, %d in the queue, want %d",
					waiting, came, went, row.Lost, row.QueuedAtAttach, row.Enqueued, row.Accepted, row.Depth, left)
			}
			check(t, tr.Close())
			s.close()
		}
	}, Fentry, Kprobe)
}

// comeAndGoSlowly has connections come, and go out of the queue half as often, until
// the returned function is called, which tells how many went.
func comeAndGoSlowly(t *testing.T, s *server, came *atomic.Int64) func() (went int64) {
	t.Helper()
	const most = 2000
	var stop atomic.Bool
	var went int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() && came.Load() < most {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				defer unix.Close(fd)
				err = unix.Connect(fd, sockaddr(s.addr))
			}
			if err == nil {
				if came.Add(1)%2 == 0 {
					var accepted int
					if accepted, err = acceptCall(s.fd); err == nil {
						went++
						unix.Close(accepted)
					}
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() int64 {
		stop.Store(true)
		<-done
		return went
	}
}

// tableOf is the table of what a tracer that was just opened sees, and what brings it
// up to date.
func tableOf(t *testing.T, tr *Tracer) (table *listener.Table, look func()) {
	t.Helper()
	table = listener.New(listener.Options{
		StallAfter: time.Hour, Start: cmp.Or(tr.Began(), monotonic()), Sampled: tr.Mode() == string(Restricted),
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

// The same of those that give up: each was dead at the start, or dies after.
func TestAttachingWhileClientsGiveUpCountsEachOnce(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 4096)
		var comers atomic.Int64
		incident := giveUpSlowly(t, s, &comers)
		time.Sleep(200 * time.Millisecond)
		before := comers.Load()
		tr := must(Open(Options{Mode: m, Filter: onPort(s.addr.Port())}))(t)
		defer func() { check(t, tr.Close()) }()
		meanwhile := int(comers.Load()-before) + 1
		table, look := tableOf(t, tr)
		look()
		time.Sleep(200 * time.Millisecond)
		closed, reset := incident()
		came := int(comers.Load())
		row := listener.Row{}
		for range 20 { // until the last one's death has been counted
			look()
			if row = rowOf(t, table, s.addr); row.DeadAtAttach+row.Dead() == uint64(closed+reset) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		in := int(row.QueuedAtAttach + row.Enqueued)
		// Where no books of a listener are kept, what comes in the milliseconds that
		// attaching takes can be neither.
		least := came
		if m == Restricted {
			least -= meanwhile
		}
		if row.DeadAtAttach+row.Dead() != uint64(closed+reset) || in < least || in > came || row.Lost != 0 || int(row.Depth) != came {
			t.Errorf("%d came, %d hung up and %d reset; %d were dead at the start, then %d hung up and %d reset; %d came in, %d unexplained, %d in the queue",
				came, closed, reset, row.DeadAtAttach, row.CloseWait, row.Reset, in, row.Lost, row.Depth)
		}
		if u := row.Unaccepted; int(u.CloseWait) != closed || int(u.Close) != reset {
			t.Errorf("%d hung up and %d reset, of which wait %d and %d", closed, reset, u.CloseWait, u.Close)
		}
		if row.DeadAtAttach == 0 || row.CloseWait == 0 || row.Reset == 0 {
			t.Errorf("%d were dead at the start, then %d hung up and %d reset: each is to happen", row.DeadAtAttach, row.CloseWait, row.Reset)
		}
	}, Fentry, Kprobe, Restricted)
}

// giveUpSlowly has clients come of whom one in three hangs up soon and one resets,
// and nobody accepts, until the returned function is called.
func giveUpSlowly(t *testing.T, s *server, came *atomic.Int64) func() (closed, reset int) {
	t.Helper()
	const most = 3000
	var stop atomic.Bool
	var closed, reset int
	done := make(chan struct{})
	go func() {
		defer close(done)
		var waiting []*client
		for !stop.Load() && came.Load() < most {
			waiting = append(waiting, connect(t, s.addr))
			came.Add(1)
			if len(waiting) > 5 {
				gone := waiting[0]
				waiting = waiting[1:]
				switch came.Load() % 3 {
				case 0:
					gone.close()
					closed++
				case 1:
					gone.reset()
					reset++
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() (int, int) {
		stop.Store(true)
		<-done
		return closed, reset
	}
}
