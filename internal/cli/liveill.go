package cli

import (
	"slices"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// fellIll begins the diagnosis of a stall: once for each, and one at a time.
func (l *live) fellIll(e *event.Event) {
	if !l.doctor.free() {
		return
	}
	if before, ok := memberRow(l.table.Rows(), e.Inode); ok {
		l.doctor.begin(suspect{netns: e.NetNS, address: e.Local, inode: e.Inode, holders: l.app.env.holdersOf(e.Inode)}, before)
		l.ill = e.Inode
	}
}

// examine begins the diagnosis of a stall that was passed over when it began,
// because another one was being looked at; once for each.
func (l *live) examine(stalled *listener.Row) {
	if l.doctor == nil || l.doctor.busy || l.examined == stalled.StalledSince {
		return
	}
	l.examined = stalled.StalledSince
	l.fellIll(&event.Event{Kind: event.Stall, NetNS: stalled.Key.NetNS, Local: stalled.Key.Addr, Inode: stalled.Inode})
}

// recovered shows a diagnosis that has come to its end.
func (l *live) recovered() {
	if l.doctor == nil {
		return
	}
	e := l.doctor.done()
	if e == nil {
		return
	}
	e.Blind = append(slices.Clone(l.src.Limits()), e.Blind...)
	if row, ok := memberRow(l.table.Rows(), l.ill); ok {
		addEvents(e, &l.doctor.before, &row, l.lastAccepts.of(row.ID), l.doctor.mode)
	}
	l.diagnosed(e)
}

// dismiss ends the diagnosis that goes on, if any.
func (l *live) dismiss() {
	if l.doctor != nil {
		l.doctor.cancel()
	}
}
