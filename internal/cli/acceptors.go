package cli

import (
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// acceptors is who accepted last from each open listener, by its ID.
type acceptors struct {
	by     map[uint64]*ui.LastAccept
	recent listener.Recent[ui.LastAccept] // of by: looked up for each accept
}

// saw takes an accept, whose listener is known.
func (a *acceptors) saw(e *event.Event) {
	last := a.recent.Get(e.ListenerID)
	if last == nil {
		if a.by == nil {
			a.by = make(map[uint64]*ui.LastAccept)
		}
		if last = a.by[e.ListenerID]; last == nil {
			last = &ui.LastAccept{}
			a.by[e.ListenerID] = last
		}
		a.recent.Put(e.ListenerID, last)
	}
	*last = ui.LastAccept{Time: e.Time, PID: e.PID, TID: e.TID, Comm: e.Comm}
}

// of is the zero value if nobody was seen to accept.
func (a *acceptors) of(id uint64) ui.LastAccept {
	if last := a.by[id]; last != nil {
		return *last
	}
	return ui.LastAccept{}
}

// forget takes out a listener that has closed.
func (a *acceptors) forget(id uint64) {
	delete(a.by, id)
	a.recent.Forget(id)
}
