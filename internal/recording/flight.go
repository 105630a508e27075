package recording

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// FlightOptions are the settings of a flight recorder; zero values mean the
// defaults.
type FlightOptions struct {
	Options
	// Span is how much of the past is kept. Default: 1 minute.
	Span time.Duration
	// MaxBytes is how much memory the past takes at most, in bytes; what is
	// older is dropped, though within Span. The block that is being made takes
	// about 8 MiB more. Default: 64 MiB; least: MaxFrame.
	MaxBytes int
}

// Flight keeps the recent past in memory, as blocks in the form of a file, and
// dumps it when asked to. It is not safe for concurrent use.
type Flight struct {
	recorder
	opt    FlightOptions
	header Header
	owners *Owners // the last ones

	blocks  []flightBlock // oldest first
	bytes   int           // of them
	dropped int           // blocks

	out    *Writer // the dump that goes on
	failed error   // of the dump, not yet said
}

type flightBlock struct {
	head  head
	frame []byte
	until int64 // ns: what it holds is not later
}

// ErrNoDump says that no dump is going on.
var ErrNoDump = errors.New("no dump is going on")

// NewFlight begins to keep the past. It keeps nothing of header.
func NewFlight(header *Header, opt FlightOptions) *Flight {
	if opt.Span <= 0 {
		opt.Span = time.Minute
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 64 << 20
	}
	opt.MaxBytes = max(opt.MaxBytes, MaxFrame)
	opt.KeyEvery = 1 // ns: each block must be understood without those that were dropped
	f := &Flight{opt: opt, header: *header}
	f.recorder = newRecorder(opt.Options, f.keep)
	f.written = f.said
	f.now = header.Clock.Monotonic
	return f
}

// keep takes a frame.
func (f *Flight) keep(h *head, frame []byte) error {
	f.bytes += len(frame)
	f.blocks = append(f.blocks, flightBlock{*h, append([]byte(nil), frame...), f.now})
	f.forget()
	if f.out != nil {
		if err := f.out.frame(h, frame); err != nil {
			f.out, f.failed = nil, err
		}
	}
	return nil
}

// said tells of a dump that could not go on. The past is kept all the same.
func (f *Flight) said() error {
	err := f.failed
	f.failed = nil
	return err
}

// forget drops what is too old or too much.
func (f *Flight) forget() {
	n := 0
	for n < len(f.blocks) && (f.bytes > f.opt.MaxBytes || f.now-f.blocks[n].until > int64(f.opt.Span)) {
		f.bytes -= len(f.blocks[n].frame)
		n++
	}
	if n > 0 {
		left := copy(f.blocks, f.blocks[n:])
		clear(f.blocks[left:])
		f.blocks = f.blocks[:left]
		f.dropped += n
	}
}

// Tick tells the time, in ns of CLOCK_MONOTONIC: what has become too old is
// forgotten. It is to be called a few times a second.
func (f *Flight) Tick(now int64) error {
	err := f.recorder.Tick(now)
	f.forget()
	return err
}

// WriteClock records how the clocks relate now.
func (f *Flight) WriteClock(c Clock) error {
	f.header.Clock = c
	return f.recorder.WriteClock(c)
}

// WriteOwners records who has what open. It keeps o for dumps.
func (f *Flight) WriteOwners(o *Owners) error {
	f.owners = o
	return f.recorder.WriteOwners(o)
}

// Bytes is how much memory the past takes.
func (f *Flight) Bytes() int { return f.bytes }

// Dropped is how many blocks have been forgotten.
func (f *Flight) Dropped() int { return f.dropped }

// Dumping says whether a dump is going on.
func (f *Flight) Dumping() bool { return f.out != nil }

// Dump writes a trace of the past to w, with the last owners before it, and then
// what comes next, until Stop. An error of w ends the dump: it is a *WriteError,
// returned by Dump or, once, by the method that wrote; the past is kept in any
// case.
func (f *Flight) Dump(w io.Writer) error {
	if f.out != nil {
		return errors.New("dump: another one is going on")
	}
	if err := f.Flush(); err != nil {
		return err
	}
	out, err := NewWriter(w, &f.header, f.opt.Options)
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if f.owners != nil {
		if err := errors.Join(out.WriteOwners(f.owners), out.Flush()); err != nil {
			return fmt.Errorf("dump: %w", err)
		}
	}
	for i := range f.blocks {
		if err := out.frame(&f.blocks[i].head, f.blocks[i].frame); err != nil {
			return fmt.Errorf("dump: %w", err)
		}
	}
	f.out = out
	return nil
}

// Stop ends the dump: its last block, index and end are written. The past is
// kept on. It returns ErrNoDump if there is none.
func (f *Flight) Stop() error {
	err := f.Flush()
	if f.out == nil {
		return errors.Join(err, ErrNoDump)
	}
	out := f.out
	f.out = nil
	out.now = f.now
	return errors.Join(err, out.Close())
}
