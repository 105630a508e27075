package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

// gatherer joins the state of listeners with what the host knows: who holds
// them, and what else is in CLOSE_WAIT.
type gatherer struct {
	env    *environment
	filter *filter.Filter

	known   map[uint32][]owner.Process // by inode, also of sockets closed since
	report  owner.Report
	missing []error
}

// listeners are the rows that the filter selects, with their owners.
func (g *gatherer) listeners(rows []listener.Row) []ui.Listener {
	var selected []ui.Listener
	inodes := make(map[uint32]struct{})
	for _, row := range rows {
		if !row.Other && !g.filter.MatchListener(row.Key.NetNS, row.Key.Addr, row.V6Only) {
			continue
		}
		selected = append(selected, ui.Listener{Row: row})
		if row.Open == 0 { // its inode may be another socket's by now
			continue
		}
		for _, inode := range inodesOf(&row) {
			inodes[inode] = struct{}{}
		}
	}
	g.scan(inodes)
	for i := range selected {
		selected[i].Owners = g.ownersOf(&selected[i].Row)
	}
	if !filtersProcesses(g.filter) {
		return selected
	}
	return slices.DeleteFunc(selected, func(l ui.Listener) bool {
		return l.Accepted+l.Enqueued+l.Overflow() == 0 && !slices.ContainsFunc(l.Owners, g.named) &&
			!slices.ContainsFunc(l.AcceptErrors, g.namesFailed)
	})
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
	if filtersProcesses(g.filter) &&
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
		return filtersProcesses(g.filter) && !g.namesFailed(f)
	})
}

// filtersPlaces says that a filter asks where a listener is.
func filtersPlaces(f *filter.Filter) bool {
	return len(f.Ports) > 0 || f.Addr.IsValid() || f.Family != filter.AnyFamily || f.NetNS != 0
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

// scan finds out who holds these sockets.
func (g *gatherer) scan(inodes map[uint32]struct{}) map[uint32][]owner.Process {
	if len(inodes) == 0 {
		return nil
	}
	found, report, err := g.env.owners(inodes)
	if err != nil {
		g.missing = append(g.missing, err)
		return nil
	}
	g.report = report
	if g.known == nil {
		g.known = make(map[uint32][]owner.Process)
	}
	maps.Copy(g.known, found)
	return found
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
	sockets, err := g.env.sockets(ctx, sockdiag.States(sockdiag.Listen), g.filter)
	if len(sockets) == 0 {
		return nil, err
	}
	inodes := make(map[uint32]struct{}, len(sockets))
	for i := range sockets {
		inodes[sockets[i].Inode] = struct{}{}
	}
	found := g.scan(inodes)
	if found == nil {
		return nil, errors.Join(errors.New("look for the processes that hold listeners"), err)
	}
	var held []heldSocket
	for i := range sockets {
		s := &sockets[i]
		if slices.ContainsFunc(found[s.Inode], g.named) {
			held = append(held, heldSocket{Inode: s.Inode, NetNS: s.NetNS, Port: s.Local.Port()})
		}
	}
	return held, nil
}

// notListening names what the filter asks for and is not there yet: "port 8000",
// "listeners held by nginx"; empty: nothing.
func (g *gatherer) notListening(ctx context.Context) string {
	if len(g.filter.Ports) == 0 && !filtersProcesses(g.filter) {
		return ""
	}
	sockets, err := g.env.sockets(ctx, sockdiag.States(sockdiag.Listen), g.filter)
	if err != nil && len(sockets) == 0 {
		return "" // nobody could look
	}
	sockets = slices.DeleteFunc(sockets, func(s hostSocket) bool {
		return !g.filter.MatchListener(s.NetNS, s.LocalUnmapped(), s.V6Only == sockdiag.V6OnlyYes)
	})
	var absent []string
	for _, r := range g.filter.Ports {
		if !slices.ContainsFunc(sockets, func(s hostSocket) bool {
			return r.First <= s.Local.Port() && s.Local.Port() <= r.Last
		}) {
			absent = append(absent, r.String())
		}
	}
	if len(absent) > 0 {
		return "port " + strings.Join(absent, ", ")
	}
	if filtersProcesses(g.filter) {
		if held, err := g.heldBy(ctx); err == nil && len(held) == 0 {
			return "any port by " + g.filter.Holders()
		}
	}
	return ""
}

// held finds the connections at these listeners that were accepted, are in
// CLOSE_WAIT and still open.
func (g *gatherer) held(ctx context.Context, table *listener.Table, all []ui.Listener) {
	sockets, err := g.env.sockets(ctx, sockdiag.States(sockdiag.CloseWait), g.filter)
	if err != nil {
		g.missing = append(g.missing, err)
		if len(sockets) == 0 {
			return
		}
	}
	byKey := make(map[listener.Key][]uint32)
	inodes := make(map[uint32]struct{})
	for i := range sockets {
		s := &sockets[i]
		if !s.HeldCloseWait() {
			continue
		}
		place, ok := table.Resolve(&event.Event{NetNS: s.NetNS, Local: s.LocalUnmapped(), Ifindex: s.Ifindex})
		if ok {
			byKey[place.Key] = append(byKey[place.Key], s.Inode)
			inodes[s.Inode] = struct{}{}
		}
	}
	found := g.scan(inodes)
	for i := range all {
		all[i].HeldKnown = true
		all[i].Held = byOwner(byKey[all[i].Key], found)
	}
}

// byOwner sums sockets up by the process that has them. One that several have,
// after a fork, counts for the first.
func byOwner(inodes []uint32, owners map[uint32][]owner.Process) []ui.Held {
	var list []ui.Held
	for _, inode := range inodes {
		var p owner.Process
		if all := owners[inode]; len(all) > 0 {
			p = all[0]
		}
		at := slices.IndexFunc(list, func(h ui.Held) bool { return h.Owner.PID == p.PID })
		if at < 0 {
			at = len(list)
			list = append(list, ui.Held{Owner: owner.Process{PID: p.PID, Comm: p.Comm}})
		}
		list[at].Sockets++
		list[at].Owner.FDs = append(list[at].Owner.FDs, p.FDs...)
	}
	return list
}

// notes are what could not be found out of these listeners, in words.
func (g *gatherer) notes(all []ui.Listener) []string {
	var notes []string
	if text := g.report.String(); text != "" && slices.ContainsFunc(all, lacksOwner) {
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
