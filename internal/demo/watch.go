package demo

import (
	"context"
	"slices"
	"sync"

	"acceptwatch/internal/event"
)

// Tracer traces the listeners of a port until ctx is done, tells watch what it
// sees, and returns nil then. If it cannot attach it returns the error without
// having called watch.Attached.
type Tracer func(ctx context.Context, port uint16, watch *Watch) error

// Watch collects what the tracer reports. Its methods may be called from any
// goroutine.
type Watch struct {
	attached chan struct{}

	mu     sync.Mutex
	mode   string
	events []event.Event
}

func newWatch() *Watch {
	return &Watch{attached: make(chan struct{})}
}

// Attached says that the tracer sees from now on, and in which mode. Only the
// first call counts.
func (w *Watch) Attached(mode string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == "" {
		w.mode = mode
		close(w.attached)
	}
}

// Event takes a copy of e.
func (w *Watch) Event(e *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, *e)
}

// seen returns the mode and all events so far.
func (w *Watch) seen() (mode string, events []event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mode, slices.Clone(w.events)
}
