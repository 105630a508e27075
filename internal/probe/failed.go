package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// accept() fails for want of a descriptor before it reaches the listener, so
// the program at its return knows the descriptor it was called with, and finds
// the socket by it if it may read the kernel's memory. Where that is refused,
// the program leaves the family 0, and the socket is found here.

// failedAccepts is what is known of failures besides the kernel's counts of them.
type failedAccepts struct {
	places map[tracingAcceptErrorKey]place  // found for those that came without
	told   map[tracingAcceptErrorKey]uint32 // the count that an event told of last
}

func newFailedAccepts() failedAccepts {
	return failedAccepts{map[tracingAcceptErrorKey]place{}, map[tracingAcceptErrorKey]uint32{}}
}

func (f failedAccepts) forget(key tracingAcceptErrorKey) {
	delete(f.places, key)
	delete(f.told, key)
}

// sinceLast makes of the count of all failures so far, which an event comes
// with, that of those since the last event. Events of two CPUs may come in the
// wrong order: it is false for one that tells nothing new.
func (f failedAccepts) sinceLast(e *event.Event) bool {
	key := errorKeyOf(e)
	fresh := int32(e.Repeats - f.told[key]) // which wraps
	if fresh <= 0 {
		return false
	}
	f.told[key] = e.Repeats
	e.Repeats = uint32(fresh)
	return true
}

// errorKeyOf is the key that the kernel counts the failure under.
func errorKeyOf(e *event.Event) tracingAcceptErrorKey {
	return tracingAcceptErrorKey{Pid: e.PID, Fd: e.FD, Inode: e.Inode, Error: uint32(e.Errno)}
}

// place is where accept() failed.
type place struct {
	id     uint64 // of the listener; 0: not known
	key    listener.Key
	inode  uint32
	family uint8 // of the listening socket
	// foreign says that the socket is no listener that is traced.
	foreign bool
}

// acceptErrors reads the counts of failed accepts.
func (t *Tracer) acceptErrors() ([]listener.AcceptError, error) {
	var list []listener.AcceptError
	var key tracingAcceptErrorKey
	var f tracingAcceptError
	it := t.coll.Maps[tracingMapAcceptErrors].Iterate()
	for it.Next(&key, &f) {
		at := place{id: f.Listener, inode: key.Inode}
		if f.Family != 0 {
			at.key = listener.Key{NetNS: f.Netns, Addr: netip.AddrPortFrom(addrOf(f.Family, f.Addr), f.Port), Ifindex: f.Ifindex}
		} else {
			var err error
			if at, err = t.placeOf(key); err != nil {
				return nil, err
			}
		}
		if at.foreign || isCanary(at.key.Addr.Addr()) {
			continue
		}
		counted := listener.AcceptError{
			ListenerID: at.id, Key: at.key, Inode: at.inode,
			PID: key.Pid, Errno: uint16(key.Error), Count: f.Count, Last: int64(f.Last),
		}
		for i, c := range f.Comm {
			counted.Comm[i] = byte(c)
		}
		list = append(list, counted)
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("read failed accepts: %w", err)
	}
	return list, t.forgetEnded(list)
}

// forgetEnded takes out the failures of processes that have ended, once they
// are in a sample: it needs not mention them again.
func (t *Tracer) forgetEnded(told []listener.AcceptError) error {
	now := time.Now()
	if now.Sub(t.forgot) < pruneEvery {
		return nil
	}
	t.forgot = now
	ended := map[uint32]bool{}
	for _, f := range told {
		if _, known := ended[f.PID]; !known {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", f.PID))
			ended[f.PID] = errors.Is(err, fs.ErrNotExist)
		}
	}
	var key tracingAcceptErrorKey
	var f tracingAcceptError
	var gone []tracingAcceptErrorKey
	for it := t.coll.Maps[tracingMapAcceptErrors].Iterate(); it.Next(&key, &f); {
		if ended[key.Pid] {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		t.failed.forget(key)
		if err := t.coll.Maps[tracingMapAcceptErrors].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget the failed accepts of process %d: %w", key.Pid, err)
		}
	}
	return nil
}

// placeOf finds the listener by the inode of its socket, or by the process's
// descriptor. What is found is kept: the process may end.
func (t *Tracer) placeOf(key tracingAcceptErrorKey) (place, error) {
	had, found := t.failed.places[key]
	inode := key.Inode
	if inode == 0 {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", key.Pid, key.Fd))
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
			return had, nil
		case err != nil:
			return place{}, fmt.Errorf("look at descriptor %d of process %d: %w", key.Fd, key.Pid, err)
		}
		if _, err := fmt.Sscanf(link, "socket:[%d]", &inode); err != nil {
			t.failed.places[key] = place{foreign: true}
			return t.failed.places[key], nil
		}
	}
	if found && had.inode == inode {
		return had, nil
	}
	at := place{inode: inode, foreign: true}
	err := t.counts.eachListener(func(l *tracingListener) error {
		if l.Inode == inode {
			k := t.counts.counted(l)
			at = place{id: l.Id, key: k.Key, inode: inode, family: l.Family}
		}
		return nil
	})
	if err == nil && !at.foreign {
		t.failed.places[key] = at
	}
	return at, err
}

// acceptFailed completes the event of a failed accept(). It reports false if it
// is none to tell of.
func (t *Tracer) acceptFailed(e *event.Event) (bool, error) {
	if !t.failed.sinceLast(e) {
		return false, nil
	}
	if e.Local.IsValid() {
		return true, nil
	}
	return t.locate(e)
}

// locate fills in where an accept() failed. It reports false if that was at no
// listener that is traced; if it cannot be known any more, it stays empty.
func (t *Tracer) locate(e *event.Event) (bool, error) {
	at, err := t.placeOf(errorKeyOf(e))
	if err != nil || at.foreign {
		return false, err
	}
	e.ListenerID, e.Local, e.NetNS, e.Ifindex = at.id, at.key.Addr, at.key.NetNS, at.key.Ifindex
	e.Inode, e.Family = at.inode, at.family
	return true, nil
}
