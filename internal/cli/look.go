package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/snapshot"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
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
	found := &found{listeners: nil, silent: make(map[uint32]time.Duration)}
	query := sockdiag.ListenersQuery()
	err := l.app.env.sockets(ctx, query, &l.opt.filter, func(s *hostSocket) {
		found.listeners = append(found.listeners, *s)
	})
	var missing *sockdiag.UnavailableError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &missing):
		return nil, unavailable(missing, "")
	case broken(err) && len(found.listeners) == 0:
		return nil, err
	case err != nil:
		found.notes = append(found.notes, err.Error())
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
	losses    []listener.Loss
	notes     []string
}

// contents looks into the queues, by the best way that works.
func (l *looker) contents(ctx context.Context, f *found) error {
	options := snapshot.Options{Connections: l.opt.connections, Before: &l.history}
	why := l.byWalk(f, options)
	switch {
	case why == nil:
		f.mode = modeWalk
		err := l.app.env.sockets(ctx, heldQuery(f.listeners), &l.opt.filter, func(s *hostSocket) { f.socket(s, 0) })
		return wholly(err, f)
	case l.opt.mode == modeWalk:
		return why
	case l.opt.mode != modeDiag:
		f.notes = append(f.notes, "reset connections are derived and ages less exact, because queues cannot be walked: "+whyNot(why))
	}
	f.mode = modeDiag
	f.look, f.losses = snapshot.New(options), nil
	f.list(l.app.env.monotonic(), func(e *event.Event, _ *hostSocket) { f.look.Listener(e) })
	for _, query := range contentQueries(f.listeners) {
		err := l.app.env.sockets(ctx, query, &l.opt.filter, func(s *hostSocket) { f.socket(s, l.app.env.monotonic()) })
		if err := wholly(err, f); err != nil {
			return err
		}
	}
	err := l.app.env.sockets(ctx, sockdiag.Query{States: sockdiag.States(sockdiag.Listen)}, &l.opt.filter, func(s *hostSocket) {
		e := listenerEvent(s, 0)
		f.look.Again(&e)
	})
	f.list(0, func(e *event.Event, s *hostSocket) {
		if s.HasDrops {
			f.look.Drops(e, s.Drops)
		}
	})
	return wholly(err, f)
}

// wholly passes an error on that ends the look. What a dump could not look at,
// the first has told already.
func wholly(err error, f *found) error {
	var unseen *unseenError
	if errors.As(err, &unseen) {
		for _, other := range unseen.others {
			if text := other.Error(); !slices.Contains(f.notes, text) {
				f.notes = append(f.notes, text)
			}
		}
		return nil
	}
	return err
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
	switch f.losses = losses; {
	case err != nil:
		return err
	case (cut || len(losses) > 0) && l.opt.mode != modeWalk:
		return errWalkCut
	}
	f.list(0, func(e *event.Event, s *hostSocket) {
		if s.HasDrops {
			f.look.Drops(e, s.Drops)
		}
	})
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
		entries *= 2 // it grows
		if err := l.walk.Close(); err != nil {
			return err
		}
		l.walk = nil
	}
	// Where a listener is bound says little of its connections: those of others
	// are needed to tell whose they are.
	places := filter.Filter{Ports: l.opt.filter.Ports, NetNS: l.opt.filter.NetNS}
	l.walk, l.refused = l.app.openWalk(places, max(entries, 1024), listeners)
	return l.refused
}

// list calls fn for each listener, as an event of a time.
func (f *found) list(at int64, fn func(*event.Event, *hostSocket)) {
	for i := range f.listeners {
		e := listenerEvent(&f.listeners[i], at)
		fn(&e, &f.listeners[i])
	}
}

// socket takes one that was listed at a time; 0: the queues were walked, and
// only those count that processes have.
func (f *found) socket(s *hostSocket, at int64) {
	switch {
	case s.HeldCloseWait():
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

// mostPorts is how many ports a query names: the kernel compares each socket
// with each of them.
const mostPorts = 64

// contentQueries select what may be queued, and what is held in CLOSE_WAIT: each
// socket once. Where nothing is queued, ESTABLISHED need not be listed.
func contentQueries(listeners []hostSocket) []sockdiag.Query {
	busy, idle := make(map[uint16]bool), make(map[uint16]bool)
	for i := range listeners {
		if depth, _ := listeners[i].Depth(); depth > 0 {
			busy[listeners[i].Local.Port()] = true
		}
	}
	for i := range listeners {
		if port := listeners[i].Local.Port(); !busy[port] {
			idle[port] = true
		}
	}
	all := sockdiag.States(sockdiag.Established, sockdiag.CloseWait, sockdiag.SynRecv)
	switch {
	case len(busy) == 0:
		return []sockdiag.Query{heldQuery(listeners)}
	case len(busy)+len(idle) > mostPorts:
		return []sockdiag.Query{{States: all, Ext: sockdiag.ExtInfo}}
	}
	queries := []sockdiag.Query{{States: all, Ext: sockdiag.ExtInfo, Ports: portRanges(busy)}}
	if len(idle) > 0 {
		queries = append(queries, sockdiag.Query{
			States: sockdiag.States(sockdiag.CloseWait), Ext: sockdiag.ExtInfo, Ports: portRanges(idle)})
	}
	return queries
}

// heldQuery selects what is in CLOSE_WAIT at the ports of listeners.
func heldQuery(listeners []hostSocket) sockdiag.Query {
	q := sockdiag.Query{States: sockdiag.States(sockdiag.CloseWait), Ext: sockdiag.ExtInfo}
	ports := make(map[uint16]bool)
	for i := range listeners {
		ports[listeners[i].Local.Port()] = true
	}
	if len(ports) <= mostPorts {
		q.Ports = portRanges(ports)
	}
	return q
}

func portRanges(ports map[uint16]bool) []sockdiag.PortRange {
	list := make([]sockdiag.PortRange, 0, len(ports))
	for port := range ports {
		list = append(list, sockdiag.PortRange{Low: port, High: port})
	}
	return list
}

// tell joins the queues with who has them, and leaves what the filter selects.
func (l *looker) tell(ctx context.Context, f *found) *seen {
	queues := f.look.Queues()
	rows := make([]listener.Row, 0, len(queues))
	byKey := make(map[listener.Key]*snapshot.Queue, len(queues))
	for _, q := range queues {
		if f.inCgroups(&q.Row, l.opt.cgroups) {
			rows = append(rows, q.Row)
			byKey[q.Key] = q
		}
	}
	g := &gatherer{
		host:   newLookHost(&l.app.env, f),
		filter: &l.opt.filter, silent: f.silent,
	}
	all := g.listeners(rows)
	g.held(ctx, f.look.Table(), all)
	s := &seen{mode: f.mode, losses: f.losses, notes: append(f.notes, g.notes(all)...)}
	if f.look.Unplaced > 0 {
		s.losses = append(s.losses, listener.Loss{What: "unplaced", Count: uint64(f.look.Unplaced),
			Text: "queued connections were listed whose listener was opened or closed meanwhile"})
	}
	for _, one := range all {
		q := byKey[one.Key]
		q.Connections = slices.DeleteFunc(q.Connections, func(e event.Event) bool { return !l.opt.filter.Match(e.NetNS, e.Local) })
		s.queues = append(s.queues, ui.Queue{Listener: one, Look: q})
	}
	slices.SortStableFunc(s.queues, func(a, b ui.Queue) int { // with nothing queued, those that leak
		if a.Depth > 0 || b.Depth > 0 {
			return 0
		}
		return len(b.Held) - len(a.Held)
	})
	s.waiting = g.notListening(ctx)
	return s
}

// inCgroups says whether a listener was made in one of the cgroups; nil: any.
func (f *found) inCgroups(row *listener.Row, cgroups map[uint64]bool) bool {
	if cgroups == nil {
		return true
	}
	inodes := inodesOf(row)
	return slices.ContainsFunc(f.listeners, func(s hostSocket) bool {
		return cgroups[s.CgroupID] && slices.Contains(inodes, s.Inode)
	})
}

// lookHost is the host at the time of a look, which has listed its sockets.
type lookHost struct {
	liveHost
	found *found
}

// newLookHost looks for the owners of all at once: what costs is to read who has
// which descriptors.
func newLookHost(env *environment, f *found) *lookHost {
	var (
		known  map[uint32][]owner.Process
		report owner.Report
		err    error
	)
	once := *env
	once.owners = func(asked map[uint32]struct{}) (map[uint32][]owner.Process, owner.Report, error) {
		if known == nil && err == nil {
			inodes := make(map[uint32]struct{})
			for _, list := range [][]hostSocket{f.listeners, f.held} {
				for i := range list {
					inodes[list[i].Inode] = struct{}{}
				}
			}
			known, report, err = env.owners(inodes)
		}
		found := make(map[uint32][]owner.Process, len(asked))
		for inode := range asked {
			if holders := known[inode]; holders != nil {
				found[inode] = holders
			}
		}
		return found, report, err
	}
	return &lookHost{liveHost{env: &once}, f}
}

func (h *lookHost) listening(context.Context, *filter.Filter) ([]hostSocket, error) {
	return h.found.listeners, nil
}

func (h *lookHost) held(_ context.Context, _ *filter.Filter, at func(*recording.Held) bool) *recording.Owners {
	return h.heldOf(h.found.held, nil, at)
}

// queuedEvent is an entry of a queue as sock_diag tells of it, at a time.
func queuedEvent(s *hostSocket, at int64) event.Event {
	e := event.Event{
		Kind: event.Queued, Time: at, Local: s.LocalUnmapped(), Peer: s.RemoteUnmapped(), NetNS: s.NetNS,
		Ifindex: s.Ifindex, Family: s.Family, State: event.State(s.State), Cookie: s.Cookie,
	}
	e.Unread, _ = s.UnreadBytes()
	if s.HasInfo && s.State != sockdiag.SynRecv { // whose clock has not started
		e.Queued = at - int64(s.LastDataSent)
	}
	return e
}

// listenerEvent is a listener as sock_diag tells of it, at a time.
func listenerEvent(s *hostSocket, at int64) event.Event {
	e := event.Event{
		Kind: event.Listener, Time: at, ListenerID: s.Cookie, Local: s.Local, NetNS: s.NetNS, Ifindex: s.Ifindex,
		Family: s.Family, State: event.Listening, Inode: s.Inode,
	}
	e.Depth, _ = s.Depth()
	e.Backlog, _ = s.Backlog()
	if s.V6Only == sockdiag.V6OnlyYes {
		e.Flags |= event.V6Only
	}
	return e
}
