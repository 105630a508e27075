package cli

import (
	"errors"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/recording"
)

// medium is what a recording is written to: a file, a pipe or memory.
type medium interface {
	WriteEvent(*event.Event) error
	WriteSample(s *listener.Sample, waits bool) error
	WriteMark(recording.Mark) error
	WriteClock(recording.Clock) error
	WriteOwners(*recording.Owners) error
	WriteEvidence(*diagnose.Evidence) error
	Tick(now int64) error
}

// tape records what a session takes. Its first error ends the recording, and is
// kept for failed. A nil tape records nothing.
type tape struct {
	to     medium
	events uint64 // recorded, but for the entries of walks: nothing has happened to those
	err    error
	// tooLarge is the first sample or evidence that could not be recorded; the recording
	// went on.
	tooLarge error
	// survived, if not nil, takes errors of writing that do not end the
	// recording.
	survived func(*recording.WriteError)
}

func (t *tape) on() bool { return t != nil && t.err == nil }

func (t *tape) keep(err error) {
	if err == nil {
		return // before anything is allocated: this is called for each event
	}
	var write *recording.WriteError
	switch {
	case t.survived != nil && errors.As(err, &write):
		t.survived(write)
	case errors.Is(err, recording.ErrTooLarge):
		if t.tooLarge == nil {
			t.tooLarge = err
		}
	default:
		t.err = err
	}
}

func (t *tape) event(e *event.Event) {
	if t.on() {
		if e.Kind != event.Listener && e.Kind != event.Queued {
			t.events++
		}
		t.keep(t.to.WriteEvent(e))
	}
}

func (t *tape) sample(s *listener.Sample, waits bool) {
	if t.on() {
		t.keep(t.to.WriteSample(s, waits))
	}
}

func (t *tape) mark(m recording.Mark) {
	if t.on() {
		t.keep(t.to.WriteMark(m))
	}
}

func (t *tape) clock(c recording.Clock) {
	if t.on() {
		t.keep(t.to.WriteClock(c))
	}
}

func (t *tape) owners(o *recording.Owners) {
	if t.on() {
		t.keep(t.to.WriteOwners(o))
	}
}

func (t *tape) evidence(e *diagnose.Evidence) {
	if t.on() {
		t.keep(t.to.WriteEvidence(e))
	}
}

// tick tells the time, and returns what failed says.
func (t *tape) tick(now int64) error {
	if t.on() {
		t.keep(t.to.Tick(now))
	}
	return t.failed()
}

// failed is why the recording ended early.
func (t *tape) failed() error {
	if t == nil {
		return nil
	}
	return t.err
}

// part grows when a recording that rotates begins another file, which is to be
// told what the queues hold.
func (t *tape) part() int {
	if t == nil {
		return 0
	}
	if f, ok := t.to.(*recording.File); ok {
		return f.Parts()
	}
	return 0
}

// size is how many bytes have been written to the present file.
func (t *tape) size() int64 {
	if s, ok := t.to.(interface{ Size() int64 }); ok {
		return s.Size()
	}
	return 0
}
