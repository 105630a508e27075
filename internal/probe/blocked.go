package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/owner"
)

// A thread that blocks in accept() since before attach entered it past the
// hooks, so its return is not seen (an fexit runs only for calls that passed
// the patched entry). security_sock_graft sees it, but not the listener: the
// map accepting says which one each of these threads waits on. __inet_accept,
// where it can be watched, is called after the wait, and knows the listener; but
// when many threads wake at once the kernel skips a program there now and then.

// pruneEvery is how often threads that are gone are looked for.
const pruneEvery = 5 * time.Second

// blockedThreads are threads that blocked in accept() when the hooks had just
// been put in place.
type blockedThreads struct {
	accepting *ebpf.Map
	seen      *ebpf.Map
	left      map[uint32]int // thread id to process id
	checked   time.Time
}

// findBlocked looks for threads inside accept() after the hooks are in place. It
// may find some that entered it only after attach.
func (t *Tracer) findBlocked() error {
	if !t.plan.has(RoleGraft) && t.plan.Mode != Kprobe {
		return nil
	}
	sockets := map[uint32]uint64{}
	inodes := map[uint32]struct{}{}
	err := t.counts.eachListener(func(l *tracingListener) error {
		sockets[l.Inode] = l.Socket
		inodes[l.Inode] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	delete(inodes, 0)
	b := &blockedThreads{accepting: t.coll.Maps[tracingMapAccepting], seen: t.coll.Maps[tracingMapSeenAccepts], left: map[uint32]int{}, checked: time.Now()}
	threads, uninspected, err := blockedInAccept(inodes)
	if err != nil {
		return fmt.Errorf("find threads that block in accept(): %w", err)
	}
	t.blocked = b
	beyond, err := b.note(threads, sockets)
	if !t.plan.watches(inetAccept) { // which sees them all the same
		t.unseen, t.beyond = uint64(uninspected), uint64(beyond)
	}
	return err
}

// note writes down which listening socket each thread waits on, of those at these
// inodes; beyond is for how many threads there was no room.
func (b *blockedThreads) note(threads []owner.Thread, sockets map[uint32]uint64) (beyond int, err error) {
	for _, thread := range threads {
		tid := uint32(thread.TID)
		// Kprobe mode has already noted the threads that entered since.
		err := b.accepting.Update(tid, sockets[thread.Inode], ebpf.UpdateNoExist)
		switch {
		case errors.Is(err, unix.E2BIG):
			beyond++
			continue
		case err != nil && !errors.Is(err, ebpf.ErrKeyExist):
			return beyond, fmt.Errorf("note thread %d, which blocks in accept(): %w", tid, err)
		}
		b.left[tid] = thread.PID
	}
	return beyond, nil
}

// blockedInAccept asks the processes that hold the listeners; uninspected is
// how many would not be looked into.
func blockedInAccept(inodes map[uint32]struct{}) (threads []owner.Thread, uninspected int, err error) {
	var scanner owner.Scanner
	holders, report, err := scanner.Scan(inodes)
	if err != nil {
		return nil, 0, err
	}
	pids := map[int]bool{}
	for _, processes := range holders {
		for _, p := range processes {
			pids[p.PID] = true
		}
	}
	threads, inside, err := scanner.BlockedInAccept(slices.Collect(maps.Keys(pids)))
	return threads, report.Denied + inside.Denied, err
}

// pruneCalls forgets in mode kprobe the calls of threads that are gone: a thread
// leaves its last one there if that took nothing, or its return was missed.
func (t *Tracer) pruneCalls(now time.Time) error {
	if t.plan.Mode != Kprobe || now.Sub(t.pruned) < pruneEvery {
		return nil
	}
	t.pruned = now
	for _, name := range []string{probingMapAccepting, probingMapAcceptCalls} {
		var gone []uint32
		var tid uint32
		var call uint64
		calls := t.coll.Maps[name]
		for it := calls.Iterate(); it.Next(&tid, &call); {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", tid)); errors.Is(err, fs.ErrNotExist) {
				gone = append(gone, tid)
			}
		}
		for _, tid := range gone {
			if err := calls.Delete(tid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("forget a call of thread %d: %w", tid, err)
			}
		}
	}
	return nil
}

func (b *blockedThreads) empty() bool { return len(b.left) == 0 }

// prune forgets the threads that the programs took out, those that ended, and
// those whose accept() was entered after attach, as its exit has shown.
func (b *blockedThreads) prune(now time.Time) error {
	if now.Sub(b.checked) < pruneEvery {
		return nil
	}
	b.checked = now
	for tid, pid := range b.left {
		var socket uint64
		err := b.accepting.Lookup(tid, &socket)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			delete(b.left, tid)
			continue
		}
		if err != nil {
			return fmt.Errorf("look up thread %d: %w", tid, err)
		}
		var place tracingSeen
		if err := b.seen.Lookup(tid%uint32(b.seen.MaxEntries()), &place); err != nil {
			return fmt.Errorf("look up what thread %d accepted: %w", tid, err)
		}
		_, err = os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, tid))
		if place.Tid == uint64(tid) || errors.Is(err, fs.ErrNotExist) {
			if err := b.accepting.Delete(tid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("forget thread %d: %w", tid, err)
			}
			delete(b.left, tid)
		}
	}
	return nil
}
