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
			traffic := comeAndGoSlowly(t, s)
			asked := onPort(s.addr.Port())
			if held {
				asked.PIDs = []int{os.Getpid()}
			}
			tr := must(Open(Options{Mode: m, Filter: asked}))(t)
			if held { // none is, for who looks for holders, until they are found
				check(t, tr.SetHeld([]Held{s.held()}))
			}
			table := listener.New(listener.Options{StallAfter: time.Hour, Start: cmp.Or(tr.Began(), monotonic())})
			look := func() {
				check(t, tr.Walk())
				check(t, tr.Read(func(e *event.Event) { table.Apply(e, nil) }))
				table.Update(must(tr.Sample(true))(t), nil)
			}
			look()
			came, went := traffic()
			look()
			left := uint32(waiting + came - went)
			row := rowOf(t, table, s.addr)
			if row.Lost != 0 || row.Depth != left || !row.AttachKnown {
				t.Errorf("%d waited, %d came and %d went meanwhile, %d unexplained: %d queued at start, %d enqueued, %d accepted, %d in the queue, want %d",
					waiting, came, went, row.Lost, row.QueuedAtAttach, row.Enqueued, row.Accepted, row.Depth, left)
			}
			check(t, tr.Close())
			s.close()
		}
	}, Fentry, Kprobe)
}

// comeAndGoSlowly has connections come, and go out of the queue half as often, until
// the returned function is called, which tells how many did.
func comeAndGoSlowly(t *testing.T, s *server) func() (came, went int) {
	t.Helper()
	const most = 2000
	var stop atomic.Bool
	var came, went int
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() && came < most {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				defer unix.Close(fd)
				err = unix.Connect(fd, sockaddr(s.addr))
			}
			if err == nil {
				came++
				if came%2 == 0 {
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
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return func() (int, int) {
		stop.Store(true)
		<-done
		return came, went
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
