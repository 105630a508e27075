package listener

import (
	"testing"

	"acceptwatch/internal/event"
)

// Whatever is in the ring or in a recording, in whatever order: no panic,
// nothing negative, and the states sum up to the depth.
func FuzzApply(f *testing.F) {
	var story []byte
	for _, e := range []event.Event{
		{Kind: event.Listener, Time: second, ListenerID: 1, NetNS: netns, Family: 2, Depth: 2, Backlog: 5, Local: key("0.0.0.0:8000").Addr},
		entry(100, 1, event.CloseWaited), entry(200, 2, event.Established),
		conn(event.CloseWait, 1500, 200, 2, event.CloseWaited), conn(event.Reset, 1600, 200, 2, event.Close),
		conn(event.Accepted, 3000, 100, 1, event.CloseWaited), conn(event.Purged, 3100, 200, 2, event.Close),
		{Kind: event.Overflow, Time: 3110 * ms, NetNS: netns, Family: 2, Local: key("0.0.0.0:8000").Addr, Depth: 6, Backlog: 5},
		{Kind: event.AcceptError, Time: 3120 * ms, NetNS: netns, Family: 2, Local: key("0.0.0.0:8000").Addr, Errno: emfile, PID: 3, Repeats: 9, Inode: 4},
		{Kind: event.AcceptError, Time: 3130 * ms, Errno: emfile, PID: 3, Repeats: 9},
		{Kind: event.ListenerClosed, Time: 3200 * ms, ListenerID: 1, Family: 2},
	} {
		if e.Kind != event.CloseWait && e.Kind != event.Reset {
			e.ListenerID = 1
		}
		story = event.Append(story, &e)
	}
	f.Add(story)
	f.Fuzz(func(t *testing.T, raw []byte) {
		table := New(Options{MaxRows: 2, MaxDead: 3})
		emit := func(e *event.Event) {
			if wait, _ := e.Wait(); wait < 0 {
				t.Errorf("%s: waited %v", e.Kind, wait)
			}
		}
		var e event.Event
		for ; len(raw) >= event.Size; raw = raw[event.Size:] {
			// Sums of stalls of centuries do not fit.
			if event.Decode(raw, &e) != nil || e.Time > 1<<55 {
				continue
			}
			table.Apply(&e, emit)
			table.Resolve(&e)
			table.Update(&Sample{Time: e.Time, Listeners: []Counted{{
				ID: e.ListenerID, Key: Key{e.NetNS, e.Local, e.Ifindex}, Depth: e.Depth,
				Enqueued: uint64(e.Unread), Closed: e.State == event.Close, NonEmptySince: e.Queued, Inode: e.Inode,
				MigratedIn: uint64(e.DepthAtEntry), MigratedOut: uint64(e.TID), OverflowSYN: uint64(e.PID), MaxDepth: e.Backlog,
			}}, Addresses: []AtAddress{{Key: Key{NetNS: e.NetNS, Addr: e.Local}, CloseWait: uint64(e.Backlog)}},
				AcceptErrors: []AcceptError{{ListenerID: e.ListenerID, Key: Key{e.NetNS, e.Local, e.Ifindex}, Inode: e.Inode,
					PID: e.PID, Errno: e.Errno, Count: uint64(e.Repeats), Last: e.Time}}}, emit)
			for _, r := range table.Rows() {
				u := &r.Unaccepted
				if sum := u.Dead() + u.Established + u.SynRecv + u.NotLooked; u.Known && sum != r.Depth {
					t.Errorf("%+v do not sum up to %d", u, r.Depth)
				}
				if age, _ := r.Oldest(); age < 0 || r.Stalled < 0 {
					t.Errorf("negative: %v, %v", age, r.Stalled)
				}
				if r.Open == 1 && r.MaxDepth < r.Depth {
					t.Errorf("deepest %d, and %d are in it", r.MaxDepth, r.Depth)
				}
				r.Imbalance()
			}
		}
	})
}
