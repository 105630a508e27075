package cli

import (
	"strings"
	"sync"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
	"acceptwatch/internal/ui/top"
)

// topView gives what a session shows to a Model, which the screen draws from
// another goroutine.
type topView struct {
	mu    sync.Mutex
	model *top.Model
	wall  wallClock // the session's, as of its last table

	clock   *wallClock    // of the session
	every   int64         // ns: between two tables
	taken   int64         // ns: the last one
	changed chan struct{} // there is something to be drawn
	player  *player       // of a recording; nil: it is live
}

func newTopView(every time.Duration, ascii bool) *topView {
	return &topView{model: top.New(top.Options{ASCII: ascii}), every: int64(every), changed: make(chan struct{}, 1)}
}

// with calls fn with the model, which is nobody else's meanwhile.
func (v *topView) with(fn func(*top.Model)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.player != nil {
		v.model.SetTape(v.player.tape())
	}
	fn(v.model)
}

// redraw has the screen draw. A recording that is on its way to the place that
// was asked for shows nothing before.
func (v *topView) redraw() {
	if v.player != nil && !v.player.arrived() {
		return
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

func (v *topView) begin(h *ui.Header) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wall, v.taken = *v.clock, 0
	about := top.About{
		Mode: h.Mode, Limits: h.Limits, Filter: h.Filter, NetNS: h.NetNS, Refusals: h.Mode != restricted,
		Wall: func(ns int64) time.Time { return v.wall.at(ns) },
	}
	if v.player != nil {
		about.Origin = h.Hint
	}
	v.model.Begin(about)
}

func (v *topView) due(at int64) bool {
	// A sample is never made at the very moment.
	return v.taken == 0 || at-v.taken >= v.every-v.every/10
}

func (v *topView) table(at int64, all []ui.Listener, losses []listener.Loss) {
	if at == v.taken {
		return // nothing has happened since
	}
	v.taken = at
	v.with(func(m *top.Model) {
		v.wall = *v.clock
		m.Take(&top.State{Time: at, Listeners: all, Losses: losses})
	})
	v.redraw()
}

func (v *topView) line(l *ui.Line) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.model.Happened(l)
}

func (v *topView) queued(e *event.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.model.Walked(e)
}

func (v *topView) diagnosis(d *ui.Diagnosis) {
	v.with(func(m *top.Model) { m.Diagnosed(d) })
	v.redraw()
}

func (v *topView) tick()                      {}
func (v *topView) end(*ui.Summary, time.Time) {}
func (v *topView) flush() error               { return nil }

// opened says that the page of a listener is shown.
func (v *topView) opened() (open bool) {
	v.with(func(m *top.Model) { _, open = m.Opened() })
	return open
}

// unexplained is the listener whose page is shown while it is stalled and nobody
// has looked why.
func (v *topView) unexplained() (stalled listener.Row, is bool) {
	v.with(func(m *top.Model) { stalled, is = m.Unexplained() })
	return stalled, is
}

// obey does what concerns a recording.
func (v *topView) obey(c top.Command) {
	if v.player != nil {
		v.player.obey(c)
	}
}

// Write takes the lines of the log, which must not go to a terminal that is a
// screen now: the last one is shown there.
func (v *topView) Write(line []byte) (int, error) {
	v.with(func(m *top.Model) { m.Warn(strings.TrimSpace(string(line))) })
	v.redraw()
	return len(line), nil
}
