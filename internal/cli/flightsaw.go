package cli

import (
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/trigger"
	"acceptwatch/internal/ui"
)

// seenWait is the longest wait of those that were accepted in this second, and
// in the one before.
type seenWait struct {
	since       int64 // ns
	now, before time.Duration
}

// saw takes note of a wait.
func (f *flight) saw(l *ui.Line) {
	if l.Kind != event.Accepted {
		return
	}
	wait, _ := l.Wait()
	key := listener.Key{NetNS: l.NetNS, Addr: l.Listener}
	w := f.waits[key]
	w.turn(l.Time)
	w.now = max(w.now, wait)
	f.waits[key] = w
}

// turn begins another second when one is over.
func (w *seenWait) turn(now int64) {
	switch over := now - w.since; {
	case over >= 2*int64(time.Second):
		*w = seenWait{since: now}
	case over >= int64(time.Second):
		*w = seenWait{since: w.since + int64(time.Second), before: w.now}
	}
}

// look asks the trigger of each listener.
func (f *flight) look(rows []listener.Row) {
	if f.opt.trigger == nil {
		return
	}
	known := make(map[listener.RowName]bool, len(rows))
	for i := range rows {
		row := &rows[i]
		name := listener.NameOf(row)
		known[name] = true
		values := f.window(name, row.Time).Add(row.Time, trigger.Counts{
			CloseWait: row.CloseWait, Reset: row.Reset, Purged: row.Purged, Overflow: row.Overflow(),
			AcceptError: row.Failed(), Accepted: row.Accepted,
		})
		values.Depth, values.Stalled = row.Depth, row.StalledSince != 0
		if row.Open > 0 {
			values.Places = row.Backlog + uint32(row.Open)
		}
		values.Wait, _ = row.Oldest()
		key := listener.Key{NetNS: row.Key.NetNS, Addr: row.Key.Addr}
		if w, ok := f.waits[key]; ok {
			w.turn(row.Time)
			f.waits[key] = w
			values.Wait = max(values.Wait, w.now, w.before)
		}
		f.ask(&values, row.Key.Addr.String(), row.Time)
	}
	f.lookElsewhere()
	f.looked = f.live.app.env.monotonic()
	for name := range f.windows {
		if !known[name] && name != elsewhere() {
			delete(f.windows, name)
			delete(f.waits, listener.Key{NetNS: name.Key.NetNS, Addr: name.Key.Addr})
		}
	}
}

// elsewhere is the name of all listeners that are not known.
func elsewhere() listener.RowName {
	return listener.RowName{Key: listener.Key{Ifindex: ^uint32(0)}, Other: true}
}

func (f *flight) lookElsewhere() {
	var failed uint64
	for _, e := range f.live.hosts.unplaced(f.live.table.AcceptErrors()) {
		failed += e.Count
	}
	at := f.live.app.env.monotonic()
	values := f.window(elsewhere(), at).Add(at, trigger.Counts{AcceptError: failed})
	if values.AcceptError > 0 {
		f.ask(&values, "a listener that is not known", at)
	}
}

// window is that of a listener. All that one has counted that was not there at
// the last look is new.
func (f *flight) window(name listener.RowName, now int64) *trigger.Window {
	w := f.windows[name]
	if w == nil {
		w = &trigger.Window{}
		if f.looked != 0 {
			w.Add(min(f.looked, now), trigger.Counts{})
		}
		f.windows[name] = w
	}
	return w
}
