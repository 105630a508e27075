package listener

import (
	"cmp"
	"slices"

	"acceptwatch/internal/event"
)

// AcceptFailures is how often accept() failed for one process with one errno.
type AcceptFailures struct {
	PID   uint32     // 0: of further processes, which were too many to tell apart
	Comm  event.Comm // of the thread that failed first
	Errno uint16
	Count uint64 // calls
	Last  int64  // ns, CLOCK_MONOTONIC
}

// failures are those of one listener, or of several.
type failures []AcceptFailures

// maxFailures bounds the processes and errnos that are told apart in one list.
// What is beyond has one entry an errno.
const maxFailures = 64

func (f *failures) add(more AcceptFailures) {
	if more.Count == 0 {
		return
	}
	if i := f.find(more.PID, more.Errno); i >= 0 {
		(*f)[i].merge(&more)
		return
	}
	if more.PID != 0 {
		f.crowd()
	}
	*f = append(*f, more)
}

// crowd makes room for one more process: of too many, it gives up telling the
// one apart that has not failed for the longest time.
func (f *failures) crowd() {
	oldest, apart := 0, 0
	for i := range *f {
		if (*f)[i].PID == 0 {
			continue
		}
		if apart == 0 || (*f)[i].Last < (*f)[oldest].Last {
			oldest = i
		}
		apart++
	}
	if apart < maxFailures {
		return
	}
	was := (*f)[oldest]
	*f = slices.Delete(*f, oldest, oldest+1)
	was.PID, was.Comm = 0, event.Comm{}
	f.add(was)
}

func (f failures) find(pid uint32, errno uint16) int {
	return slices.IndexFunc(f, func(a AcceptFailures) bool { return a.PID == pid && a.Errno == errno })
}

func (a *AcceptFailures) merge(o *AcceptFailures) {
	if a.Comm == (event.Comm{}) {
		a.Comm = o.Comm
	}
	a.Count += o.Count
	a.Last = max(a.Last, o.Last)
}

func (f *failures) addAll(o failures) {
	for _, a := range o {
		f.add(a)
	}
}

// worstSince is the one with the most failures of those that failed since a
// time; nil: none did.
func (f failures) worstSince(at int64) *AcceptFailures {
	var worst *AcceptFailures
	for i := range f {
		if a := &f[i]; a.Last > at && (worst == nil || a.Count > worst.Count) {
			worst = a
		}
	}
	return worst
}

// sorted is a copy, the most failures first.
func (f failures) sorted() []AcceptFailures {
	if len(f) == 0 {
		return nil
	}
	list := slices.Clone(f)
	slices.SortFunc(list, func(a, b AcceptFailures) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Errno, b.Errno))
	})
	return list
}

// failed tells the AcceptErrors of samples apart; a process may fail by several
// descriptors of one listener.
type failed struct {
	listener uint64
	key      Key
	inode    uint32
	pid      uint32
	errno    uint16
}

// tally is what was counted of one of them.
type tally struct {
	comm   event.Comm
	count  uint64 // up to the last sample
	adrift uint64 // of count: not tied to a listener yet
	told   uint64 // of adrift: since a sample before
	last   int64  // ns
	now    uint64 // scratch: in this sample
}

// maxTallies bounds what is told apart; the kernel's own table is a quarter.
const maxTallies = 1 << 14

// tallyErrors takes the failed accepts of a sample.
func (t *Table) tallyErrors(errors []AcceptError) {
	lost := uint64(0)
	t.touched = t.touched[:0]
	for i := range errors {
		a := &errors[i]
		id := failed{a.ListenerID, a.Key, a.Inode, a.PID, a.Errno}
		c := t.tallies[id]
		if c == nil {
			if len(t.tallies) >= maxTallies {
				lost += a.Count
				continue
			}
			c = &tally{}
			t.tallies[id] = c
		}
		if c.now == 0 {
			t.touched = append(t.touched, id)
		}
		c.now += a.Count
		c.comm = a.Comm
		c.last = max(c.last, a.Last)
	}
	t.errorsLost = max(t.errorsLost, lost)
	for _, id := range t.touched {
		c := t.tallies[id]
		grown := max(c.now, c.count) - c.count
		c.count, c.now = c.count+grown, 0
		c.adrift += grown
		if grown > 0 {
			t.tie(id, c)
		}
		c.told = c.adrift
	}
	if t.joined {
		for id, c := range t.tallies {
			t.tie(id, c)
		}
	}
}

// tie gives what is adrift to its listener, or to the row of its address, if
// one of them is known.
func (t *Table) tie(id failed, c *tally) {
	if c.adrift == 0 {
		return
	}
	more := AcceptFailures{PID: id.pid, Comm: c.comm, Errno: id.errno, Count: c.adrift, Last: c.last}
	m, r := t.listenerOf(id.listener, id.inode, id.key)
	if r != nil {
		told := more
		told.Count = c.told
		t.tied(told, r)
	}
	switch {
	case m != nil:
		m.failures.add(more)
	case r != nil:
		r.total.failures.add(more)
	default:
		return
	}
	c.adrift, c.told = 0, 0
}

// listenerOf finds whose a failed accept() is: by its listener, by its socket,
// or by its bound address as the kernel would look it up. Of what has closed,
// or of a group, only the row is known. Both are nil if nothing is.
func (t *Table) listenerOf(id uint64, inode uint32, key Key) (*member, *row) {
	if m := t.byID(id); m != nil {
		return m, m.row
	}
	if r := t.closed.rows[id]; r != nil {
		if t.rows[r.key] != r { // it has none of its own any more
			r = t.others()
		}
		return nil, r
	}
	if m := t.inodes[inode]; m != nil {
		return m, m.row
	}
	if !key.Addr.IsValid() {
		return nil, nil
	}
	r := t.rowAt(key.NetNS, key.Addr, key.Ifindex)
	if r == nil || r.stray() {
		return nil, nil
	}
	return r.only(), r
}

// AcceptErrors are those whose listener is not known, the most failures first.
func (t *Table) AcceptErrors() []AcceptFailures {
	var adrift failures
	for id, c := range t.tallies {
		adrift.add(AcceptFailures{PID: id.pid, Comm: c.comm, Errno: id.errno, Count: c.adrift, Last: c.last})
	}
	return adrift.sorted()
}
