package cli

import (
	"slices"

	"acceptwatch/internal/export"
	"acceptwatch/internal/ui"
)

// lookView shows one look after the other.
type lookView interface {
	show(*seen) error
}

func (a *app) snapshotView(o *snapshotOptions, clock *wallClock) lookView {
	if o.json {
		return &lookJSON{app: a, opt: o, clock: clock}
	}
	terminal := ui.IsTerminal(a.Out)
	v := &lookText{app: a, opt: o, screen: terminal && o.watch > 0}
	v.printer = ui.NewPrinter(ui.Options{
		Out: a.Out, Terminal: terminal, All: o.all,
		Color: !o.noColor && ui.UseColor(a.Out, a.env.getenv),
		Width: func() int { return ui.Width(a.Out) },
		Wall:  clock.at, Now: a.env.now,
	})
	return v
}

// lookText is for people: on a terminal each look takes the place of the one
// before, in a pipe they follow one another.
type lookText struct {
	app     *app
	opt     *snapshotOptions
	printer *ui.Printer
	screen  bool
	told    []string // notes
}

func (v *lookText) show(s *seen) error {
	shown := &ui.Snapshot{
		Mode: s.mode, Filter: v.opt.filter.String(), NetNS: v.app.env.netns, At: s.at, Took: s.took,
		Queues: s.queues, Connections: v.opt.connections, Waiting: s.waiting, Losses: s.losses, Notes: s.notes, Partial: s.partial,
	}
	if v.screen {
		v.printer.Snapshot(shown)
		v.printer.Screen(ui.Height(v.app.Out))
		return v.printer.Flush()
	}
	shown.Notes = news(&v.told, s.notes)
	v.printer.Snapshot(shown)
	return v.printer.Flush()
}

// news are the notes that were not told yet.
func news(told *[]string, notes []string) []string {
	var fresh []string
	for _, note := range notes {
		if !slices.Contains(*told, note) {
			*told = append(*told, note)
			fresh = append(fresh, note)
		}
	}
	return fresh
}

// lookJSON is for programs; its format is that of package export.
type lookJSON struct {
	app   *app
	opt   *snapshotOptions
	clock *wallClock
	told  []string
	buf   []byte
	err   error // of the first write that failed
}

func (v *lookJSON) show(s *seen) error {
	for _, note := range news(&v.told, s.notes) {
		v.app.log.Warn().Msg(note)
	}
	if s.waiting != "" {
		for _, note := range news(&v.told, []string{s.waiting}) {
			v.app.log.Warn().Msg(note)
		}
	}
	total := export.SnapshotSummary{Time: s.at, Mode: s.mode, Duration: s.took, Listeners: len(s.queues), HeldCloseWait: new(int)}
	for i := range s.queues {
		q := &s.queues[i]
		record := export.Listener{
			Row: &q.Row, Owners: q.Owners, HeldKnown: q.HeldKnown,
			Snapshot: &export.Snapshot{Queue: q.Look, At: s.at, Wall: v.clock.at},
		}
		for _, h := range q.Held {
			record.Held = append(record.Held, export.Held(h))
		}
		if !q.HeldKnown {
			total.HeldCloseWait = nil
		}
		if total.HeldCloseWait != nil {
			*total.HeldCloseWait += q.HeldSockets()
		}
		v.buf = export.AppendListener(v.buf, &record)
		for j := range q.Look.Connections {
			v.buf = export.AppendConnection(v.buf, &q.Look.Connections[j], q.Look, s.at)
			if len(v.buf) >= flushAt {
				v.write()
			}
		}
		total.Depth += uint64(q.Depth)
		total.Dead += uint64(q.Unaccepted.Dead())
	}
	for i := range s.losses {
		total.Losses += s.losses[i].Count
		v.buf = export.AppendLoss(v.buf, &s.losses[i])
	}
	v.buf = export.AppendSnapshotSummary(v.buf, total)
	v.write()
	return v.err
}

func (v *lookJSON) write() {
	if v.err == nil {
		_, v.err = v.app.Out.Write(v.buf)
	}
	v.buf = v.buf[:0]
}
