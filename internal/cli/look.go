package cli

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/probe"
	"acceptwatch/internal/snapshot"
	"acceptwatch/internal/sockdiag"
)

// walk looks into queues themselves.
type walk interface {
	// Entries is how many there is room for.
	Entries() int
	// Look calls fn for each listener, followed by the entries of its queue.
	Look(fn func(*event.Event)) ([]listener.Loss, error)
	Close() error
}

// openWalk makes room for so many entries at so many listeners. The error says
// why queues cannot be walked.
type openWalk func(f filter.Filter, entries, listeners int) (walk, error)

// looker looks again and again.
type looker struct {
	app     *app
	opt     *snapshotOptions
	clock   *wallClock
	history snapshot.History
	walk    walk  // nil: not open
	refused error // why it is not
}

func newLooker(a *app, o *snapshotOptions) *looker {
	return &looker{app: a, opt: o, clock: newWallClock(&a.env)}
}

func (l *looker) close() error {
	if l.walk == nil {
		return nil
	}
	return l.walk.Close()
}

// look looks once at everything. The error is for what leaves nothing to show.
func (l *looker) look(ctx context.Context) (*seen, error) {
	began := l.app.env.monotonic()
	l.clock.set(l.clock.read())
	found := &found{silent: make(map[uint32]time.Duration), unlisted: make(map[uint32]bool), wanted: l.opt.wanted()}
	query := sockdiag.ListenersQuery()
	err := l.app.env.sockets(ctx, query, &l.opt.filter, func(s *hostSocket) {
		found.listeners = append(found.listeners, *s)
	})
	var (
		missing *sockdiag.UnavailableError
		unseen  *unseenError
	)
	if errors.As(err, &unseen) {
		found.missed(unseen)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &missing):
		return nil, unavailable(missing, "")
	case broken(err) && len(found.listeners) == 0:
		return nil, err
	case err != nil:
		found.notes, found.partial = append(found.notes, err.Error()), true
	}
	if err := l.contents(ctx, found); err != nil {
		return nil, err
	}
	s := l.tell(ctx, found)
	l.history.Turn()
	s.at, s.took = l.clock.at(began), time.Duration(l.app.env.monotonic()-began)
	return s, nil
}

// found is what one look found on the host.
type found struct {
	mode      string
	look      *snapshot.Look
	listeners []hostSocket
	held      []hostSocket             // accepted, in CLOSE_WAIT
	silent    map[uint32]time.Duration // of these, by inode
	unlisted  map[uint32]bool          // network namespaces of which not all was listed
	wanted    func(netns uint32, local netip.AddrPort) bool
	losses    []listener.Loss
	notes     []string
	partial   bool // not everything could be looked at
}

// contents looks into the queues, by the best way that works.
func (l *looker) contents(ctx context.Context, f *found) error {
	options := snapshot.Options{Connections: l.opt.connections, Wanted: f.wanted, Before: &l.history}
	why := l.byWalk(f, options)
	switch {
	case why == nil:
		f.mode = modeWalk
		return l.dump(ctx, f, heldQuery(f.listeners), &l.opt.filter, func(s *hostSocket) { f.socket(s, 0) })
	case l.opt.mode == modeWalk:
		return unavailable(why, "run it with sudo, or with --mode diag")
	case l.opt.mode != modeDiag:
		f.notes = append(f.notes, "reset connections are derived and ages less exact, because queues cannot be walked: "+whyNot(why))
	}
	f.mode = modeDiag
	f.look, f.losses = snapshot.New(options), nil
	for netns := range f.unlisted {
		f.look.NotListed(netns)
	}
	at := l.app.env.monotonic()
	for i := range f.listeners {
		e := listenerEvent(&f.listeners[i], at)
		f.look.Listener(&e)
	}
	for _, query := range contentQueries(f.listeners) {
		err := l.dump(ctx, f, query, &l.opt.filter, func(s *hostSocket) { f.socket(s, l.app.env.monotonic()) })
		if err != nil {
			return err
		}
	}
	err := l.dump(ctx, f, listenQuery, &l.opt.filter, func(s *hostSocket) {
		e := listenerEvent(s, 0)
		f.look.Again(&e)
	})
	f.drops()
	if err != nil || !f.look.Hides() {
		return err
	}
	return l.again(ctx, f)
}

// again lists a second time, to tell why entries were not listed the first time.
// What was steered to a listener came to any port.
func (l *looker) again(ctx context.Context, f *found) error {
	anyPort := &filter.Filter{NetNS: l.opt.filter.NetNS}
	query := sockdiag.Query{States: queuedStates, Ext: sockdiag.ExtInfo}
	err := l.dump(ctx, f, query, anyPort, func(s *hostSocket) {
		if s.Inode == 0 {
			e := queuedEvent(s, 0)
			f.look.Relisted(&e)
		}
	})
	if err != nil {
		return err
	}
	return l.dump(ctx, f, listenQuery, anyPort, func(s *hostSocket) {
		e := listenerEvent(s, 0)
		f.look.Confirm(&e)
	})
}

// dump lists sockets. The error ends the look; that some could not be listed is
// written down.
func (l *looker) dump(ctx context.Context, f *found, q sockdiag.Query, places *filter.Filter, fn func(*hostSocket)) error {
	err := l.app.env.sockets(ctx, q, places, fn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var unseen *unseenError
	if !errors.As(err, &unseen) {
		return err
	}
	f.missed(unseen)
	// What else a dump could not look at, the first has told already.
	f.partial = f.partial || len(unseen.others) > 0
	for _, other := range unseen.others {
		if text := other.Error(); !slices.Contains(f.notes, text) {
			f.notes = append(f.notes, text)
		}
	}
	return nil
}

// missed writes down the network namespaces of which not all was listed.
func (f *found) missed(unseen *unseenError) {
	for _, netns := range unseen.unlisted {
		f.unlisted[netns] = true
		if f.look != nil {
			f.look.NotListed(netns)
		}
	}
}

// whyNot is why queues cannot be walked, without what is said around it.
func whyNot(err error) string {
	if errors.Is(err, errWalkCut) {
		return err.Error()
	}
	return strings.TrimPrefix(err.Error(), "walk queues: ")
}

// errWalkCut says that a walk did not come to the end of a queue.
var errWalkCut = errors.New("a queue is too long to be walked here")

// byWalk walks the queues; the error says why that did not show all of them.
func (l *looker) byWalk(f *found, options snapshot.Options) error {
	if l.opt.mode == modeDiag {
		return errors.ErrUnsupported
	}
	entries := 0
	for i := range f.listeners {
		depth, _ := f.listeners[i].Depth()
		entries += int(depth)
	}
	if err := l.makeRoom(entries, len(f.listeners)); err != nil {
		return err
	}
	options.Walked = true
	f.look = snapshot.New(options)
	cut := false
	losses, err := l.walk.Look(func(e *event.Event) {
		if e.Kind == event.Queued {
			f.look.Queued(e)
			return
		}
		cut = cut || e.Flags&event.WalkCut != 0
		f.look.Listener(e)
	})
	cut = cut || slices.ContainsFunc(losses, func(l listener.Loss) bool { return l.What != probe.BlindNamespaces })
	switch f.losses = losses; {
	case err != nil:
		return err
	case cut && l.opt.mode != modeWalk:
		return errWalkCut
	}
	f.drops()
	return nil
}

// makeRoom opens the walk, if it is not open with enough room.
func (l *looker) makeRoom(entries, listeners int) error {
	if l.walk != nil && l.walk.Entries() >= entries {
		return nil
	}
	if l.refused != nil {
		return l.refused
	}
	if l.walk != nil {
		if entries <= probe.MostWalked {
			entries = min(2*entries, probe.MostWalked) // it grows
		}
		if err := l.walk.Close(); err != nil {
			return err
		}
		l.walk = nil
	}
	// Where a listener is bound says little of its connections: those of others
	// are needed to tell whose they are.
	places := filter.Filter{Ports: l.opt.filter.Ports, NetNS: l.opt.filter.NetNS}
	var err error
	if l.walk, err = l.app.openWalk(places, max(entries, 1024), listeners); err != nil && !errors.Is(err, probe.ErrTooMany) {
		l.refused = err
	}
	return err
}

// drops tells the look what each listener dropped.
func (f *found) drops() {
	for i := range f.listeners {
		if s := &f.listeners[i]; s.HasDrops {
			e := listenerEvent(s, 0)
			f.look.Drops(&e, s.Drops)
		}
	}
}

// socket takes one that was listed at a time; 0: the queues were walked, and
// only those count that processes have.
func (f *found) socket(s *hostSocket, at int64) {
	switch {
	case s.HeldCloseWait():
		if f.wanted != nil && !f.wanted(s.NetNS, s.LocalUnmapped()) {
			return
		}
		f.held = append(f.held, *s)
		if s.HasInfo {
			f.silent[s.Inode] = s.LastHeard
		}
	case at == 0 || s.Inode != 0:
	case s.Unaccepted(), s.State == sockdiag.SynRecv: // a Fast Open
		e := queuedEvent(s, at)
		f.look.Queued(&e)
	case s.MPTCP && (s.State == sockdiag.Established || s.State == sockdiag.CloseWait):
		e := queuedEvent(s, at)
		f.look.MayBeQueued(&e)
	}
}
