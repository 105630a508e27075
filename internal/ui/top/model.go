// Package top is the live table of all listeners, and the page of one of them: a
// Model takes what happens and which keys are pressed, and gives the text of the
// screen. It draws nothing, reads no clock and asks nobody: what it is told of, it
// shows.
package top

import (
	"slices"
	"strings"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

// Options are the settings of a Model.
type Options struct {
	ASCII bool // the terminal shows no UTF-8
}

// page is what the screen shows.
type page uint8

const (
	tablePage page = iota
	listenerPage
	helpPage
)

// Model is the state of the screen. It is not safe for concurrent use.
type Model struct {
	opt           Options
	width, height int

	board *board // what is known
	shown *board // what is shown: the board, or how it was when the user paused
	note  string // the last warning
	tape  Tape   // of a recording

	page    page
	back    page // where the help was asked for
	sort    order
	upward  bool     // the sort order is turned round
	filter  string   // what the listeners shown contain, in lower case
	typing  bool     // the filter is being typed
	before  string   // the filter before it was
	list    []*place // that are shown, in order
	cursor  int      // of list
	first   int      // of list: at the top of the screen
	moved   bool     // the cursor was, so that it stays with its listener
	on      listener.RowName
	scroll  int // lines of the page of a listener, or of the help, above the screen
	scrolls int // how many there may be
}

// New is a Model of nothing.
func New(opt Options) *Model {
	m := &Model{opt: opt, width: 80, height: 24, board: newBoard(About{})}
	m.shown = m.board
	return m
}

// Begin forgets what is known, and keeps what the user has chosen: something
// else is shown from now on.
func (m *Model) Begin(about About) {
	m.board = newBoard(about)
	m.shown = m.board
	m.arrange()
}

// Resize says how large the screen is, in columns and lines.
func (m *Model) Resize(width, height int) { m.width, m.height = max(width, 1), max(height, 1) }

// Take takes the next state. It keeps nothing of the list of listeners.
func (m *Model) Take(s *State) {
	m.board.take(s)
	if !m.paused() {
		m.arrange()
	}
}

// Happened takes an event; it keeps nothing of it.
func (m *Model) Happened(l *ui.Line) { m.board.happened(l) }

// Diagnosed takes a diagnosis, and keeps it.
func (m *Model) Diagnosed(d *ui.Diagnosis) { m.board.diagnosed(d) }

// Walked takes what a walk of the queues finds: the kinds event.Listener and
// event.Queued.
func (m *Model) Walked(e *event.Event) { m.board.walk(e) }

// Warn shows a warning until the next one.
func (m *Model) Warn(text string) { m.note = text }

// SetTape says where a recording is.
func (m *Model) SetTape(t Tape) { m.tape = t }

// Opened is the address of which the page is shown; false: of none.
func (m *Model) Opened() (listener.Key, bool) {
	return m.on.Key, m.page == listenerPage && !m.on.Other
}

// Unexplained is the listener of which the page is shown while it is stalled and
// nothing says why; false: there is none.
func (m *Model) Unexplained() (stalled listener.Row, is bool) {
	p := m.board.byName[m.on]
	if _, open := m.Opened(); !open || p == nil || !p.stalled() || p.diagnosis != nil {
		return stalled, false
	}
	for i := range p.l.Members {
		if p.l.Members[i].StalledSince == p.l.StalledSince {
			return p.l.Members[i], true
		}
	}
	return p.l.Row, true
}

// paused says that what is shown stands still while the board goes on.
func (m *Model) paused() bool { return m.shown != m.board }

func (m *Model) pause() {
	if m.paused() {
		m.shown = m.board
	} else {
		m.shown = m.board.clone()
	}
	m.arrange()
}

// arrange makes the list anew. The cursor stays with its listener once it was
// moved, and before that with the worst one.
func (m *Model) arrange() {
	m.list = m.list[:0]
	for _, p := range m.shown.places {
		if m.filter == "" || strings.Contains(strings.ToLower(m.shown.name(p)+" "+ui.OwnersText(p.l.Owners)), m.filter) {
			m.list = append(m.list, p)
		}
	}
	m.sort.apply(m.list, m.upward)
	if m.moved {
		if i := slices.IndexFunc(m.list, func(p *place) bool { return p.name == m.on }); i >= 0 {
			m.cursor = i
		}
	} else {
		m.cursor = 0
	}
	m.settle()
}

// settle keeps the cursor in the list, and remembers whose line it is on.
func (m *Model) settle() {
	m.cursor = min(max(m.cursor, 0), max(len(m.list)-1, 0))
	if m.page != listenerPage && m.back != listenerPage && len(m.list) > 0 {
		m.on = m.list[m.cursor].name
	}
}

// name is the address of the listeners at a place, and what else tells it apart.
func (b *board) name(p *place) string { return p.l.Name(b.about.NetNS) }
