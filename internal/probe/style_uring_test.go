package probe

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// io_uring takes connections in the thread that owns the ring, whenever that
// is in the kernel, or in worker threads of its own.

// What include/uapi/linux/io_uring.h (Linux 6.12) calls them.
const (
	opAccept            = 13      // IORING_OP_ACCEPT
	asyncSubmission     = 1 << 4  // IOSQE_ASYNC
	multishotFlag       = 1 << 0  // IORING_ACCEPT_MULTISHOT
	moreCompletions     = 1 << 1  // IORING_CQE_F_MORE
	enterGetEvents      = 1 << 0  // IORING_ENTER_GETEVENTS
	offsetSubmissions   = 0       // IORING_OFF_SQ_RING
	offsetCompletions   = 1 << 27 // IORING_OFF_CQ_RING: 0x8000000
	offsetEntries       = 1 << 28 // IORING_OFF_SQES: 0x10000000
	disabledForEveryone = "2"     // kernel.io_uring_disabled
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32

	_  [3]uint32
	sq struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32

		_ uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32

		_ uint64
	}
}

// submission is struct io_uring_sqe.
type submission struct {
	op, flags   uint8
	acceptFlags uint16 // ioprio of other operations
	fd          int32
	addr2, addr uint64
	length      uint32
	fileFlags   uint32
	userData    uint64
	_           [3]uint64
}

// completion is struct io_uring_cqe.
type completion struct {
	userData uint64
	res      int32
	flags    uint32
}

// ring is an io_uring of one thread, with one request under way.
type ring struct {
	fd     int
	params ringParams
	sq, cq []byte
	sqes   []byte
}

func newRing() (*ring, error) {
	r := &ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		return nil, errno
	}
	r.fd = int(fd)
	p := &r.params
	for _, m := range []struct {
		to     *[]byte
		offset int64
		size   int
	}{
		{&r.sq, offsetSubmissions, int(p.sq.array + 4*p.sqEntries)},
		{&r.cq, offsetCompletions, int(p.cq.cqes) + int(p.cqEntries)*int(unsafe.Sizeof(completion{}))},
		{&r.sqes, offsetEntries, int(p.sqEntries) * int(unsafe.Sizeof(submission{}))},
	} {
		memory, err := unix.Mmap(r.fd, m.offset, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		*m.to = memory
	}
	return r, nil
}

func (r *ring) close() error {
	var errs []error
	for _, m := range [][]byte{r.sq, r.cq, r.sqes} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	return errors.Join(append(errs, unix.Close(r.fd))...)
}

func word(memory []byte, offset uint32) *uint32 {
	return (*uint32)(unsafe.Pointer(&memory[offset]))
}

// submit hands one request over.
func (r *ring) submit(s submission) error {
	tail := word(r.sq, r.params.sq.tail)
	slot := *tail & *word(r.sq, r.params.sq.mask)
	*(*submission)(unsafe.Pointer(&r.sqes[uintptr(slot)*unsafe.Sizeof(s)])) = s
	*word(r.sq, r.params.sq.array+4*slot) = slot
	atomic.AddUint32(tail, 1)
	return r.enter(1, 0)
}

func (r *ring) enter(submitted, completed uintptr) error {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), submitted, completed, enterGetEvents, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// next waits for a completion.
func (r *ring) next() (completion, error) {
	head := word(r.cq, r.params.cq.head)
	for *head == atomic.LoadUint32(word(r.cq, r.params.cq.tail)) {
		if err := r.enter(0, 1); err != nil {
			return completion{}, err
		}
	}
	slot := *head & *word(r.cq, r.params.cq.mask)
	c := *(*completion)(unsafe.Pointer(&r.cq[uintptr(r.params.cq.cqes)+uintptr(slot)*unsafe.Sizeof(completion{})]))
	atomic.AddUint32(head, 1)
	return c, nil
}

var (
	oneAccept       = submission{op: opAccept}
	multishotAccept = submission{op: opAccept, acceptFlags: multishotFlag}
	workersAccept   = submission{op: opAccept, flags: asyncSubmission}
)

// byRing keeps one such request under way in each thread.
func byRing(request submission) func(*ledger, *server) {
	return func(l *ledger, s *server) {
		r, err := newRing()
		if err != nil {
			l.t.Errorf("set up io_uring: %v", err)
			return
		}
		defer r.close()
		request.fd = int32(s.fd)
		worker := request.flags&asyncSubmission != 0
		for more, accepting := false, int64(0); ; {
			if worker {
				// With nothing to accept yet, a worker may leave the connection to
				// the thread that owns the ring (io_wq_submit_work, Linux 6.1).
				if err := pollIn(s.fd, -1); err != nil {
					l.t.Errorf("wait for a connection: %v", err)
					return
				}
			}
			if !more {
				// It can be served at any time from here on.
				accepting = monotonic()
				if err := r.submit(request); err != nil {
					l.t.Errorf("submit to io_uring: %v", err)
					return
				}
			}
			c, err := r.next()
			if err != nil {
				l.t.Errorf("wait for io_uring: %v", err)
				return
			}
			more = c.flags&moreCompletions != 0
			switch {
			case c.res >= 0:
				one, err := served(int(c.res), accepting)
				if err != nil {
					l.t.Errorf("serve a connection: %v", err)
				}
				one.Worker = worker
				l.add(one)
			case unix.Errno(-c.res) == unix.EINTR || unix.Errno(-c.res) == unix.EAGAIN:
			case unix.Errno(-c.res) == unix.EINVAL && isShutDown(s.fd):
				return
			default:
				l.t.Errorf("io_uring accepted with %v", unix.Errno(-c.res))
				return
			}
		}
	}
}

// checkWorker says that the event names a worker of io_uring. Since 5.12 they
// are threads of the process (io_uring/io-wq.c), before, they are the kernel's.
func checkWorker(t testing.TB, e *event.Event, took taking) {
	t.Helper()
	comm := e.Comm.String()
	thread := strings.HasPrefix(comm, "iou-wrk-") && e.PID == took.PID && e.TID != took.TID
	kernel := strings.HasPrefix(comm, "io_wqe_worker") && e.PID != took.PID && e.TID != took.TID
	if !thread && !kernel {
		t.Errorf("taken by a worker of %s[%d/%d], reported %s", took.Comm, took.PID, took.TID, describe([]event.Event{*e}))
	}
}

// requireRing fails on a kernel of the matrix without io_uring, which all have
// since 5.5 with accept. What its owner has switched off is switched on for the
// test there.
func requireRing(t *testing.T) {
	t.Helper()
	const setting = "/proc/sys/kernel/io_uring_disabled" // Linux 6.6
	value, err := os.ReadFile(setting)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(value)) == disabledForEveryone && os.Getenv("ACCEPTWATCH_MODES") != "" {
		check(t, os.WriteFile(setting, []byte("0"), 0))
		t.Cleanup(func() { check(t, os.WriteFile(setting, value, 0)) })
	}
	r, err := newRing()
	if err != nil {
		lacking(t, 5, 5, "io_uring for this process ("+err.Error()+")")
	}
	check(t, r.close())
}

// requireMultishot leaves out the kernels before 5.19, whose io_uring accepts
// once a request only.
func requireMultishot(t *testing.T) {
	t.Helper()
	requireRing(t)
	if !kernelIs(t, 5, 19) {
		t.Skip("io_uring accepts once a request before Linux 5.19")
	}
}
