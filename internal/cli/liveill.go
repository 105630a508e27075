package cli

import (
	"net/netip"
	"slices"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// stall is one that may be diagnosed.
type stall struct {
	netns   uint32
	address netip.AddrPort
	inode   uint32
	since   int64 // ns of CLOCK_MONOTONIC: when it began
}

// mostPassedOver is how many stalls are remembered that began while another one was
// being diagnosed.
const mostPassedOver = 64

// fellIll begins the diagnosis of a stall: once for each, and one at a time. Those
// that begin meanwhile come after it.
func (l *live) fellIll(e *event.Event) {
	s := stall{e.NetNS, e.Local, e.Inode, e.Queued}
	switch {
	case !l.doctor.busy:
		l.attend(l.table.Rows(), s)
	case len(l.passedOver) < mostPassedOver: // which costs no look at the listeners
		l.passedOver = append(l.passedOver, s)
	default:
		l.undiagnosed++
	}
}

// attend begins the diagnosis of a stall; false: it has ended.
func (l *live) attend(rows []listener.Row, s stall) bool {
	before, ok := memberRow(rows, s.inode)
	if !ok || before.StalledSince != s.since {
		return false
	}
	l.doctor.begin(suspect{netns: s.netns, address: s.address, inode: s.inode, holders: l.app.env.holdersOf(s.inode)}, before)
	l.ill = s
	return true
}

// next begins the diagnosis of the first stall that was passed over and goes on.
func (l *live) next() {
	if l.doctor.busy || len(l.passedOver) == 0 {
		return
	}
	rows := l.table.Rows()
	for !l.doctor.busy && len(l.passedOver) > 0 {
		if !l.attend(rows, l.passedOver[0]) {
			l.undiagnosed++
		}
		l.passedOver = slices.Delete(l.passedOver, 0, 1)
	}
}

// examine has a stall that somebody asks about diagnosed before all others that
// were passed over; once for each.
func (l *live) examine(stalled *listener.Row) {
	s := stall{stalled.Key.NetNS, stalled.Key.Addr, stalled.Inode, stalled.StalledSince}
	if l.doctor == nil || l.doctor.busy && l.ill == s || l.examined == s.since {
		return
	}
	l.examined = s.since
	l.passedOver = slices.DeleteFunc(l.passedOver, func(other stall) bool { return other == s })
	l.passedOver = slices.Insert(l.passedOver, 0, s)
	l.next()
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
	if row, ok := memberRow(l.table.Rows(), l.ill.inode); ok {
		addEvents(e, &l.doctor.before, &row, l.lastAccepts.of(row.ID), l.doctor.mode)
	}
	l.diagnosed(e)
	l.next()
}

// tellUndiagnosed says how many stalls were not diagnosed.
func (l *live) tellUndiagnosed() {
	if n := l.undiagnosed + len(l.passedOver); n > 0 {
		l.app.log.Info().Msg(ui.Plural(n, "stall") + " not diagnosed, because another one was being looked at")
	}
}

// dismiss ends the diagnosis that goes on, if any.
func (l *live) dismiss() {
	if l.doctor != nil {
		l.doctor.cancel()
	}
}
