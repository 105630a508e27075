package probe

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"acceptwatch/internal/netns"
)

// namespacesEvery is how often the list of network namespaces is made anew.
const namespacesEvery = 5 * time.Second

// walker runs the socket iterator in every network namespace: an iterator sees
// that of the thread that opens it (net/ipv4/tcp_ipv4.c, bpf_iter_tcp).
type walker struct {
	iter       *link.Iter
	only       uint32 // network namespace, by its inode; 0: all
	namespaces []netns.NS
	listed     time.Time
	seen       map[uint32]bool // inodes of those that the last walk looked into,
	blind      map[uint32]bool // and could not look into
	unlisted   int             // processes whose namespace could not be read
	lastError  error
}

func newWalker(prog *ebpf.Program) (*walker, error) {
	iter, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, fmt.Errorf("attach socket iterator: %w", err)
	}
	return &walker{iter: iter}, nil
}

// unseen is how much of the host the last walk could not look at.
func (w *walker) unseen() int { return w.unlisted + len(w.blind) }

// run walks all namespaces. Those that cannot be entered are counted, unless
// that is all of them.
func (w *walker) run() error {
	if now := time.Now(); now.Sub(w.listed) >= namespacesEvery {
		namespaces, denied := netns.List()
		if w.only != 0 {
			namespaces = slices.DeleteFunc(namespaces, func(ns netns.NS) bool { return ns.Inode != w.only })
		}
		w.namespaces, w.listed = namespaces, now
		w.unlisted, w.lastError = len(denied), errors.Join(denied...)
	}
	w.seen, w.blind = map[uint32]bool{}, map[uint32]bool{}
	for _, ns := range w.namespaces {
		err := netns.Do(ns, w.walkHere)
		if errors.Is(err, netns.ErrNotFound) {
			w.listed = time.Time{} // it has ended since
			continue
		}
		if err != nil {
			w.blind[ns.Inode] = true
			w.lastError = err
			continue
		}
		w.seen[ns.Inode] = true
	}
	if len(w.blind) > 0 {
		// Namespaces come and go: list them again next time.
		w.listed = time.Time{}
	}
	if len(w.blind) == len(w.namespaces) && (w.only == 0 || len(w.blind) > 0) {
		return fmt.Errorf("walk the accept queues: %w", w.lastError)
	}
	return nil
}

// walkHere reads until the iterator meets the first socket that is no
// listener: listeners come first, and the program writes a byte for any other.
func (w *walker) walkHere() error {
	r, err := w.iter.Open()
	if err != nil {
		return fmt.Errorf("open socket iterator: %w", err)
	}
	defer r.Close()
	var one [1]byte
	if _, err := r.Read(one[:]); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read socket iterator: %w", err)
	}
	return nil
}

// walks remembers the last two walks, to tell which listeners are gone.
type walks struct {
	before, last walkDone
	news         bool // there was one since forget looked
}

type walkDone struct {
	began int64           // ns
	seen  map[uint32]bool // inodes of the network namespaces
}

func (w *walks) done(began int64, seen map[uint32]bool) {
	w.before, w.last, w.news = w.last, walkDone{began, seen}, true
}

// missed says that neither of the last two walks met the listener, though both
// looked where it was, and it was known before them: no hook saw it close.
func (w *walks) missed(l *tracingListener) bool {
	known := int64(l.Id >> 10) // see listener_new, bpf/listener.bpf.h
	return w.before.seen[l.Netns] && w.last.seen[l.Netns] &&
		known < w.before.began && int64(l.Walked) < w.before.began
}

func (w *walker) close() error { return w.iter.Close() }
