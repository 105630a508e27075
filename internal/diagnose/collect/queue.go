package collect

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/sockdiag"
)

// Listener is a listening socket.
type Listener struct {
	NS      *netns.NS // nil: that of this process
	Address netip.AddrPort
	Inode   uint32
}

// queueLook is what sock_diag shows of a queue at one moment.
type queueLook struct {
	found          bool
	depth, backlog uint32
	drops          uint32
	dropsKnown     bool
	overflows      diagnose.Maybe[uint64] // of all listeners of the namespace

	// waiting are the visible entries with their ages; all are those of this
	// listener only if its own are all that can be.
	waiting map[string]time.Duration
	mine    bool
	taken   map[string]bool // accepted and open
	dead    uint32
	held    int
}

// lookAtQueue looks again if there are entries of which none is seen: one that was
// accepted between the two may have been all.
func lookAtQueue(ctx context.Context, l *Listener) (q queueLook, err error) {
	for range 3 {
		if q, err = lookOnce(ctx, l); err != nil || q.depth == 0 || len(q.waiting) > 0 {
			break
		}
	}
	q.overflows = listenOverflows(l)
	return q, err
}

func lookOnce(ctx context.Context, l *Listener) (queueLook, error) {
	port := l.Address.Port()
	q := queueLook{waiting: make(map[string]time.Duration), taken: make(map[string]bool)}
	sockets, err := sockdiag.Snapshot(ctx, sockdiag.Query{
		NetNS: l.NS, Ports: []sockdiag.PortRange{{Low: port, High: port}}, Ext: sockdiag.ExtInfo | sockdiag.ExtSKMemInfo,
		States: sockdiag.States(sockdiag.Listen, sockdiag.Established, sockdiag.CloseWait),
	})
	if err != nil && len(sockets) == 0 {
		return q, err
	}
	var elsewhere uint32 // entries in the queues of others that may share the address
	for i := range sockets {
		s := &sockets[i]
		if depth, listens := s.Depth(); listens {
			if s.Inode != l.Inode {
				elsewhere += depth
				continue
			}
			q.found, q.depth = true, depth
			q.backlog, _ = s.Backlog()
			q.drops, q.dropsKnown = s.Drops, s.HasDrops
			continue
		}
		if !sameListener(l.Address, s.LocalUnmapped()) {
			continue
		}
		name := s.LocalUnmapped().String() + " " + s.RemoteUnmapped().String()
		switch {
		case s.Unaccepted() && s.HasInfo:
			q.waiting[name] = s.LastDataSent
			if s.State == sockdiag.CloseWait {
				q.dead++
			}
		case s.Inode != 0:
			q.taken[name] = true
			if s.HeldCloseWait() {
				q.held++
			}
		}
	}
	q.mine = elsewhere == 0
	return q, nil
}

// oldest is the age of the oldest entry, and which these are.
func (q *queueLook) oldest() (age time.Duration, which []string) {
	for name, a := range q.waiting {
		switch {
		case a > age || which == nil:
			age, which = a, []string{name}
		case a == age:
			which = append(which, name)
		}
	}
	return age, which
}

// queueOf is what two looks at a queue tell.
func queueOf(first, last *queueLook) (q diagnose.Queue) {
	if !last.found {
		return q
	}
	q.Depth, q.Backlog = diagnose.Known(last.depth), diagnose.Known(last.backlog)
	q.Held, q.Open = diagnose.Known(last.held), diagnose.Known(len(last.taken))
	if first.dropsKnown && last.dropsKnown && last.drops >= first.drops {
		// The listener's drops count more than those of a full queue, and the
		// namespace's overflows those of other listeners too.
		if overflows, known := grown(last.overflows, first.overflows).Get(); known {
			q.Refused = diagnose.Known(min(uint64(last.drops-first.drops), overflows))
		}
	}
	if !last.mine {
		return q
	}
	// Entries that were reset are in no table, and count in the depth.
	if hidden := int(last.depth) - len(last.waiting); hidden >= 0 {
		q.Dead = diagnose.Known(last.dead + uint32(hidden))
	}
	if age, which := last.oldest(); which != nil {
		q.Oldest = diagnose.Known(age)
	}
	if accepting, known := accepted(first, last); known {
		q.Accepting = diagnose.Known(accepting)
	}
	return q
}

// accepted says whether anything left the queue by accept between two looks. It
// is first in, first out: while the oldest entries are there, nothing did.
func accepted(first, last *queueLook) (yes, known bool) {
	for name := range first.waiting {
		if last.taken[name] {
			return true, true
		}
	}
	_, which := first.oldest()
	stay := 0
	for _, name := range which {
		if _, ok := last.waiting[name]; ok {
			stay++
		}
	}
	switch {
	case which != nil && stay == len(which):
		return false, true
	case last.depth < first.depth:
		return true, true
	}
	return false, false
}

// inNamespace reads a file of proc as a thread of the listener's network namespace
// sees it; empty: it cannot be read.
func inNamespace(l *Listener, path string) (text string) {
	read := func() error {
		b, err := os.ReadFile(path)
		text = string(b)
		return err
	}
	if l.NS == nil {
		_ = read()
	} else {
		_ = netns.Do(*l.NS, read)
	}
	return text
}

// somaxconn is the limit of the listener's network namespace.
func somaxconn(l *Listener) diagnose.Maybe[uint32] {
	text := strings.TrimSpace(inNamespace(l, "/proc/sys/net/core/somaxconn"))
	if text == "" {
		return diagnose.Maybe[uint32]{}
	}
	return diagnose.Known(uint32(number(text)))
}

// listenOverflows is how often an accept queue of the namespace was full.
func listenOverflows(l *Listener) diagnose.Maybe[uint64] {
	if n, ok := parseNetstat(inNamespace(l, "/proc/thread-self/net/netstat"), "TcpExt", "ListenOverflows"); ok {
		return diagnose.Known(n)
	}
	return diagnose.Maybe[uint64]{}
}

// parseNetstat reads a number of /proc/net/netstat: a line of names, and one of
// numbers, that begin with the same word (netstat_seq_show, net/ipv4/proc.c).
func parseNetstat(text, group, name string) (uint64, bool) {
	var names []string
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, group+":")
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		if names == nil {
			names = words
			continue
		}
		if i := slices.Index(names, name); i >= 0 && i < len(words) {
			return number(words[i]), true
		}
	}
	return 0, false
}
