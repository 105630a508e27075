package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// gatherer joins the state of listeners with what the host knows: who holds
// them, and what else is in CLOSE_WAIT. What it learns, it learns by take.
type gatherer struct {
	host   host
	filter *filter.Filter

	known   map[uint32][]owner.Process // by inode, also of sockets closed since, as long as a row names them
	report  owner.Report
	missing []error
	asked   map[uint32]bool  // inodes whose holders meet has looked for
	stale   bool             // and is to look for again
	open    []recording.Held // accepted, in CLOSE_WAIT and still open
	looked  bool             // for these
	// silent is since when nothing has come from the clients of these, by
	// inode; nil: not known.
	silent map[uint32]time.Duration
}

// take learns of an answer, of now or recorded.
func (g *gatherer) take(o *recording.Owners) {
	if o == nil {
		return
	}
	if g.known == nil {
		g.known = make(map[uint32][]owner.Process)
	}
	maps.Copy(g.known, holders(o))
	if o.Scan != nil {
		g.report = reportOf(o.Scan)
	}
	for _, text := range o.Missing {
		if !slices.ContainsFunc(g.missing, func(err error) bool { return err.Error() == text }) {
			g.missing = append(g.missing, errors.New(text))
		}
	}
	if o.HeldKnown {
		g.open, g.looked = o.Held, true
	}
}

// spareKnown is of how many sockets that are in no row the holders are kept.
const spareKnown = 1 << 12

// prune drops who held sockets that are in no row any more, once these are
// many: listeners come and go.
func (g *gatherer) prune(rows []listener.Row) {
	if len(g.known) <= 2*len(rows)+spareKnown {
		return
	}
	kept := make(map[uint32][]owner.Process, len(rows))
	for i := range rows {
		for _, inode := range inodesOf(&rows[i]) {
			if all, known := g.known[inode]; known {
				kept[inode] = all
			}
		}
	}
	g.known = kept
}

// selects says whether the filter selects a row, as far as its place tells.
func (g *gatherer) selects(row *listener.Row) bool {
	return row.Other || g.filter.MatchListener(row.Key.NetNS, row.Key.Addr, row.V6Only)
}

// rowsOf are the rows that the filter selects by their place.
func (g *gatherer) rowsOf(rows []listener.Row) []listener.Row {
	return slices.DeleteFunc(rows, func(row listener.Row) bool { return !g.selects(&row) })
}

// listeners are the rows that the filter selects, with their owners as of now.
func (g *gatherer) listeners(rows []listener.Row) []ui.Listener {
	rows = g.rowsOf(rows)
	inodes := make(map[uint32]struct{})
	for i := range rows {
		for _, inode := range openInodes(&rows[i]) {
			inodes[inode] = struct{}{}
		}
	}
	g.take(g.host.holders(inodes))
	return g.appendJoined(make([]ui.Listener, 0, len(rows)), rows)
}

// appendJoined appends, to none, rows with those of their owners that are known,
// less those that the filter selects by their process only and that nothing is
// known of.
func (g *gatherer) appendJoined(all []ui.Listener, rows []listener.Row) []ui.Listener {
	for i := range rows {
		all = append(all, ui.Listener{Row: rows[i], Owners: g.ownersOf(&rows[i])})
	}
	if !g.filter.ByHolder() {
		return all
	}
	return slices.DeleteFunc(all, func(l ui.Listener) bool { return !g.concerns(&l.Row, l.Owners) })
}

// concerns says whether the filter selects a row by who holds it: the kernel
// counts only what is selected.
func (g *gatherer) concerns(row *listener.Row, owners []owner.Process) bool {
	return !g.filter.ByHolder() || row.Accepted+row.Enqueued+row.Overflow() > 0 ||
		slices.ContainsFunc(owners, g.named) || slices.ContainsFunc(row.AcceptErrors, g.namesFailed)
}

// namesFailed says whether the filter names the process for which accept()
// failed. Its own name may not be that of the thread.
func (g *gatherer) namesFailed(f listener.AcceptFailures) bool {
	pid := int(f.PID)
	if g.named(owner.Process{PID: pid, Comm: f.Comm.String()}) {
		return true
	}
	for _, all := range g.known {
		if slices.ContainsFunc(all, func(p owner.Process) bool { return p.PID == pid && g.named(p) }) {
			return true
		}
	}
	return false
}

// wantsFailure says whether the filter selects a failed accept(): by its
// listener, of which the bound address is zero if it is not known, and by who
// called it or else holds it.
func (g *gatherer) wantsFailure(e *event.Event, bound listener.Key) bool {
	if g.filter.ByHolder() &&
		!g.namesFailed(listener.AcceptFailures{PID: e.PID, Comm: e.Comm}) && !slices.ContainsFunc(g.known[e.Inode], g.named) {
		return false
	}
	if !bound.Addr.IsValid() {
		bound = listener.Key{NetNS: e.NetNS, Addr: e.Local}
	}
	if !bound.Addr.IsValid() {
		return !filtersPlaces(g.filter)
	}
	return g.filter.MatchListener(bound.NetNS, bound.Addr, false)
}

// unplaced are the failed accepts that the filter selects, of those at listeners
// that are not known.
func (g *gatherer) unplaced(all []listener.AcceptFailures) []listener.AcceptFailures {
	if filtersPlaces(g.filter) {
		return nil
	}
	return slices.DeleteFunc(all, func(f listener.AcceptFailures) bool {
		return g.filter.ByHolder() && !g.namesFailed(f)
	})
}

// filtersPlaces says that a filter asks where a listener is.
func filtersPlaces(f *filter.Filter) bool {
	return len(f.Ports) > 0 || f.Addr.IsValid() || f.Family != filter.AnyFamily || f.NetNS != 0
}

// again is what is known of who holds these listeners, as if it had been learnt at
// a time in ns of CLOCK_MONOTONIC.
func (g *gatherer) again(at int64, rows []listener.Row) *recording.Owners {
	o := &recording.Owners{Time: at}
	for _, row := range g.rowsOf(rows) {
		for _, inode := range inodesOf(&row) {
			for i := range g.known[inode] {
				o.Listening = append(o.Listening, ownerOf(inode, &g.known[inode][i]))
			}
		}
	}
	return o
}

// openInodes are those of open sockets: others may be another socket's by now.
func openInodes(row *listener.Row) []uint32 {
	if row.Open == 0 {
		return nil
	}
	return inodesOf(row)
}

func inodesOf(row *listener.Row) []uint32 {
	var inodes []uint32
	if row.Inode != 0 {
		inodes = append(inodes, row.Inode)
	}
	for i := range row.Members {
		if inode := row.Members[i].Inode; inode != 0 {
			inodes = append(inodes, inode)
		}
	}
	return inodes
}

// ownersOf are the processes that hold a row's listeners, each once.
func (g *gatherer) ownersOf(row *listener.Row) []owner.Process {
	var list []owner.Process
	for _, inode := range inodesOf(row) {
		for _, p := range g.known[inode] {
			if !slices.ContainsFunc(list, func(q owner.Process) bool { return q.PID == p.PID }) {
				list = append(list, p)
			}
		}
	}
	return list
}

// named says whether the filter names this process.
func (g *gatherer) named(p owner.Process) bool {
	return slices.Contains(g.filter.PIDs, p.PID) || slices.Contains(g.filter.Comms, p.Comm)
}

// heldBy lists the listening sockets of the processes that the filter names.
func (g *gatherer) heldBy(ctx context.Context) ([]heldSocket, error) {
	sockets, err := g.host.listening(ctx, g.filter)
	if len(sockets) == 0 {
		return nil, err
	}
	inodes := make(map[uint32]struct{}, len(sockets))
	for i := range sockets {
		inodes[sockets[i].Inode] = struct{}{}
	}
	answer := g.host.holders(inodes)
	g.take(answer)
	if answer == nil || answer.Scan == nil {
		return nil, errors.Join(errors.New("look for the processes that hold listeners"), err)
	}
	found := holders(answer)
	var held []heldSocket
	for i := range sockets {
		s := &sockets[i]
		if slices.ContainsFunc(found[s.Inode], g.named) {
			held = append(held, heldSocket{Inode: s.Inode, NetNS: s.NetNS, Port: s.Local.Port()})
		}
	}
	return held, nil
}

// notes are what could not be found out of these listeners, in words.
func (g *gatherer) notes(all []ui.Listener) []string {
	var notes []string
	if text := g.report.String(); text != "" && (g.filter.ByHolder() || slices.ContainsFunc(all, lacksOwner)) {
		notes = append(notes, "owners may be missing: "+text)
	}
	if err := errors.Join(g.missing...); err != nil {
		notes = append(notes, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return notes
}

// lacksOwner says that a process is missing: every open socket has one.
func lacksOwner(l ui.Listener) bool {
	return l.Open > 0 && len(l.Owners) == 0 ||
		slices.ContainsFunc(l.Held, func(h ui.Held) bool { return h.Owner.PID == 0 })
}
