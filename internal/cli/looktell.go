package cli

import (
	"context"
	"slices"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/snapshot"
	"acceptwatch/internal/ui"
)

// tell joins the queues with who has them, and leaves what the filter selects.
func (l *looker) tell(ctx context.Context, f *found) *seen {
	queues := f.look.Queues()
	chosen := f.inCgroups(l.opt.cgroups)
	rows := make([]listener.Row, 0, len(queues))
	byKey := make(map[listener.Key]*snapshot.Queue, len(queues))
	for _, q := range queues {
		if chosen == nil || slices.ContainsFunc(inodesOf(&q.Row), func(inode uint32) bool { return chosen[inode] }) {
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
	for i := range all {
		if f.unlisted[all[i].Key.NetNS] { // some were not seen, or none
			all[i].HeldKnown, all[i].Held = false, nil
		}
	}
	s := &seen{mode: f.mode, losses: f.losses, partial: f.partial, notes: append(f.notes, g.notes(all)...)}
	if l.opt.cgroups != nil && !slices.ContainsFunc(f.listeners, func(s hostSocket) bool { return s.CgroupID != 0 }) && len(f.listeners) > 0 {
		s.notes = append(s.notes, "no listener is known to be of the cgroup: this kernel does not tell of which a socket is; choose by --port, --pid or --comm")
	}
	if f.look.Unplaced > 0 {
		s.losses = append(s.losses, listener.Loss{What: "unplaced", Count: uint64(f.look.Unplaced),
			Text: "queued connection[|s] [was|were] listed whose listener was opened or closed meanwhile"})
	}
	for _, one := range all {
		s.queues = append(s.queues, ui.Queue{Listener: one, Look: byKey[one.Key]})
	}
	// Those with nothing queued come last; of them, those that leak the most come
	// first.
	if i := slices.IndexFunc(s.queues, func(q ui.Queue) bool { return q.Depth == 0 }); i >= 0 {
		slices.SortStableFunc(s.queues[i:], func(a, b ui.Queue) int { return b.HeldSockets() - a.HeldSockets() })
	}
	s.waiting, s.remedy = g.notListening(ctx)
	return s
}

// inCgroups are the inodes of the listeners that were made in one of the
// cgroups; nil: any will do.
func (f *found) inCgroups(cgroups map[uint64]bool) map[uint32]bool {
	if cgroups == nil {
		return nil
	}
	inodes := make(map[uint32]bool)
	for i := range f.listeners {
		if s := &f.listeners[i]; cgroups[s.CgroupID] {
			inodes[s.Inode] = true
		}
	}
	return inodes
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
