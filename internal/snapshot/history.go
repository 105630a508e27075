package snapshot

import (
	"net/netip"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// History remembers over successive looks which entries were at the heads of
// queues, and since when. Its zero value remembers nothing. It is given to each
// Look, and told by Turn when that has ended.
type History struct {
	last, next map[listener.Key]remembered
}

type remembered struct {
	heads heads
	sure  bool  // the head is one of these
	since int64 // ns: it has been so since this look, or one before
}

// Turn ends a look: what it found is what the next one is compared with.
func (h *History) Turn() { h.last, h.next = h.next, nil }

// compare remembers the heads of a queue, and gives since when none of them has
// been accepted, in ns; 0: not known. sure says that no entry is before them that
// was not listed.
func (h *History) compare(key listener.Key, now *heads, sure bool, at int64) int64 {
	if h.next == nil {
		h.next = make(map[listener.Key]remembered)
	}
	was := h.last[key]
	r := remembered{heads: *now, sure: sure && len(now.list) > 0 && !now.more && !now.undated, since: at}
	same := was.sure && now.contain(&was.heads)
	if same {
		r = was
	}
	h.next[key] = r
	if !same {
		return 0
	}
	return r.since
}

const (
	// mostHeads bounds what is remembered of a queue.
	mostHeads = 256
	// tick is how far apart ages can seem that are equal: two times the longest
	// jiffy, and what the reading of a list takes.
	tick = int64(60 * time.Millisecond)
)

// heads are the entries of which one is the oldest, and some that are not much
// younger. Of a walk that is one; ages from sock_diag are only so exact.
type heads struct {
	more    bool // than could be kept
	undated bool // there is one whose age is not known: a Fast Open
	oldest  int64
	list    []head
}

type head struct {
	entry
	queued int64 // ns, about
}

// entry identifies one: by its cookie, which sock_diag gives it, or else by when
// it was queued.
type entry struct {
	peer   netip.AddrPort
	cookie uint64
	queued int64
}

func (h *heads) add(e *event.Event, walked bool) {
	switch {
	case e.Queued == 0 && (!walked || len(h.list) == 0):
		h.undated = true
		return
	case walked:
		if len(h.list) == 0 {
			h.list = []head{{entry{peer: e.Peer, queued: e.Queued}, 0}}
		}
		return
	}
	switch {
	case len(h.list) > 0 && e.Queued > h.oldest+2*tick:
		return
	case len(h.list) == 0 || e.Queued < h.oldest-2*tick:
		h.list, h.more, h.oldest = h.list[:0], false, e.Queued
	case e.Queued < h.oldest:
		h.oldest = e.Queued
	}
	if len(h.list) == mostHeads {
		h.more = true
		return
	}
	h.list = append(h.list, head{entry{peer: e.Peer, cookie: e.Cookie}, e.Queued})
}

// contain says that all that may be the oldest of was are among h.
func (h *heads) contain(was *heads) bool {
	known := make(map[entry]bool, len(h.list))
	for i := range h.list {
		known[h.list[i].entry] = true
	}
	for i := range was.list {
		if one := &was.list[i]; one.queued <= was.oldest+tick && !known[one.entry] {
			return false
		}
	}
	return true
}
