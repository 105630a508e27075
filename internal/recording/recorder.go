package recording

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// Options are the settings of a recording; zero values mean the defaults.
type Options struct {
	// BlockAge is how much of the recent past a block holds at most, and so
	// how much a kill -9 can lose. It is measured by the times of what is
	// recorded and of Tick. Default and most: 1 s.
	BlockAge time.Duration
	// BlockEvents is how many events a block holds at most. Default and most:
	// MaxEvents.
	BlockEvents int
	// KeyEvery is how often a sample is written in full. Default: 5 s.
	KeyEvery time.Duration
}

func (o *Options) setDefaults() {
	if o.BlockAge <= 0 || o.BlockAge > time.Second {
		o.BlockAge = time.Second
	}
	if o.BlockEvents <= 0 || o.BlockEvents > MaxEvents {
		o.BlockEvents = MaxEvents
	}
	if o.KeyEvery <= 0 {
		o.KeyEvery = 5 * time.Second
	}
}

// MaxRecord is the most bytes that a record takes, before compression.
const MaxRecord = 16 << 20

// maxPart is the most bytes of a record that are written in one piece.
const maxPart = 256 << 10

const (
	partFirst = 1 << 0
	partLast  = 1 << 1
)

// recorder makes frames of what is recorded. It is the part that all kinds of
// recordings share. It has no clock: the time is the latest that came in.
type recorder struct {
	opt    Options
	seal   *sealer
	block  *blockWriter
	sample sampleWriter
	buf    []byte

	now     int64 // ns
	opened  int64 // when the block got its first entry
	keyAt   int64 // when the last key was written
	wantKey bool  // the next sample must be one
	entry   bool  // the block can be understood by itself
	deltas  bool  // it has samples that need a key of before

	// put takes a frame, which is valid until it returns.
	put func(h *head, frame []byte) error
	// written, if not nil, is called after blocks were written, between records.
	written func() error
	flushed bool  // and this is still to be done
	err     error // the first one: nothing is written after it
}

func newRecorder(opt Options, put func(*head, []byte) error) recorder {
	opt.setDefaults()
	r := recorder{opt: opt, seal: newSealer(), block: newBlockWriter(), put: put, now: math.MinInt64}
	r.restart()
	return r
}

// restart makes what follows understandable without what came before.
func (r *recorder) restart() {
	r.wantKey = true
	r.begin()
}

// begin empties the block.
func (r *recorder) begin() {
	r.block.reset(max(0, r.now))
	r.entry, r.deltas = false, false
}

// see takes note of a time, before something is added to the block.
func (r *recorder) see(at int64) error {
	if r.err != nil {
		return r.err
	}
	if err := r.age(at); err != nil {
		return err
	}
	if r.block.empty() {
		r.begin()
		r.opened = r.now
	}
	return nil
}

// age writes a block that has become old enough, and then lets time go on.
func (r *recorder) age(at int64) error {
	now := max(r.now, at)
	var err error
	if !r.block.empty() && now-r.opened >= int64(r.opt.BlockAge) {
		err = r.Flush()
	}
	r.now = now
	return err
}

// WriteEvent records an event. Its Ended is not recorded, nor the parts of a
// µs of its Queued, which no kernel tells. It returns ErrKind for the kinds
// that are derived.
func (r *recorder) WriteEvent(e *event.Event) error {
	if e.Kind == event.Stall || e.Kind == event.StallEnd {
		return fmt.Errorf("record event of kind %v: %w", e.Kind, ErrKind)
	}
	if err := r.see(e.Time); err != nil {
		return err
	}
	r.block.event(e)
	if r.block.n >= r.opt.BlockEvents || r.block.full() {
		return r.Flush()
	}
	return nil
}

// WriteSample records a sample. waits says that it was asked for with
// histograms. It keeps nothing of s. An error that wraps ErrTooLarge says that
// this sample is not recorded; the recording goes on.
func (r *recorder) WriteSample(s *listener.Sample, waits bool) error {
	asKey := r.wantKey || !r.sample.hasKey || s.Time-r.keyAt >= int64(r.opt.KeyEvery)
	if asKey && r.deltas { // or reading could not begin at this block
		if err := r.Flush(); err != nil {
			return err
		}
	}
	if err := r.see(s.Time); err != nil {
		return err
	}
	b, err := r.sample.append(r.buf[:0], s, waits, asKey)
	r.buf = b
	if err != nil {
		return fmt.Errorf("record sample: %w: %w", ErrTooLarge, err)
	}
	if asKey {
		r.wantKey, r.keyAt = false, s.Time
	}
	return r.done(r.record(recordSample, b, func() {
		if asKey {
			r.entry = !r.deltas
		} else if !r.entry {
			r.deltas = true
		}
	}))
}

// WriteMark records what the caller did.
func (r *recorder) WriteMark(m Mark) error {
	if err := r.see(m.Time); err != nil {
		return err
	}
	r.buf = appendMark(r.buf[:0], m)
	return r.done(r.record(recordMark, r.buf, nil))
}

// WriteClock records how the clocks relate now.
func (r *recorder) WriteClock(c Clock) error {
	if err := r.see(c.Monotonic); err != nil {
		return err
	}
	r.buf = appendClock(r.buf[:0], c)
	return r.done(r.record(recordClock, r.buf, nil))
}

// WriteOwners records who has what open, in several records if it is much.
func (r *recorder) WriteOwners(o *Owners) error {
	if err := r.see(o.Time); err != nil {
		return err
	}
	for _, part := range o.split() {
		b, err := json.Marshal(&part)
		if err != nil {
			return fmt.Errorf("record owners: %w", err)
		}
		if len(b) > maxOwners || bytes.Count(b, []byte("{")) > maxObjects {
			return fmt.Errorf("record owners: %w: %d bytes for %d sockets", ErrTooLarge, len(b), len(part.Listening)+len(part.Held))
		}
		if err := r.record(recordOwners, b, nil); err != nil {
			return err
		}
	}
	return r.done(nil)
}

// WriteEvidence records why connections were not accepted. An error that wraps
// ErrTooLarge says that this evidence is not recorded; the recording goes on.
func (r *recorder) WriteEvidence(e *diagnose.Evidence) error {
	if err := r.see(e.Time); err != nil {
		return err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("record evidence: %w", err)
	}
	if len(b) > maxEvidence || bytes.Count(b, []byte("{")) > maxObjects {
		return fmt.Errorf("record evidence: %w: %d bytes of %d processes", ErrTooLarge, len(b), len(e.Processes))
	}
	return r.done(r.record(recordWhy, b, nil))
}

// WriteLosses records what was lost on the way to the recording, which is not
// in samples: counts since the beginning.
func (r *recorder) WriteLosses(at int64, all []listener.Loss) error {
	if err := r.see(at); err != nil {
		return err
	}
	if len(all) > maxLosses {
		return fmt.Errorf("record losses: %w: %w", ErrTooLarge, errLosses)
	}
	r.buf = appendLosses(r.buf[:0], all, nil)
	return r.done(r.record(recordLosses, r.buf, nil))
}

// Tick tells the time, in ns of CLOCK_MONOTONIC: a block that has become old
// enough is written. It is to be called a few times a second.
func (r *recorder) Tick(now int64) error {
	if r.err != nil {
		return r.err
	}
	return r.age(now)
}

// record adds a record to the block, or to several when it is long. begun is
// called after its beginning was added.
func (r *recorder) record(kind recordType, payload []byte, begun func()) error {
	if len(payload) > MaxRecord {
		return fmt.Errorf("record of %d bytes: %w: at most %d", len(payload), ErrTooLarge, MaxRecord)
	}
	if len(payload) <= maxPart {
		return r.add(kind, payload, begun)
	}
	for flag := byte(partFirst); len(payload) > 0; flag, begun = 0, nil {
		piece := payload[:min(len(payload), maxPart)]
		payload = payload[len(piece):]
		if len(payload) == 0 {
			flag |= partLast
		}
		if err := r.add(recordPart, append([]byte{flag, byte(kind)}, piece...), begun); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) add(kind recordType, payload []byte, begun func()) error {
	if r.block.size()+perRecord+len(payload) > MaxContent-perEvent-perClass-perPlace-perThread {
		if err := r.flush(); err != nil {
			return err
		}
		r.opened = r.now
	}
	r.block.record(kind, payload)
	if begun != nil {
		begun()
	}
	return nil
}

// Flush writes the block that has been begun.
func (r *recorder) Flush() error {
	if r.err != nil || r.block.empty() {
		return r.err
	}
	return r.done(r.flush())
}

// done is what follows each record, if err is nil.
func (r *recorder) done(err error) error {
	if err != nil || !r.flushed {
		return err
	}
	r.flushed = false
	return r.written()
}

// flush is Flush inside of a record, where no part of a recording may end.
func (r *recorder) flush() error {
	h := head{kind: blockFrame, major: Major, minor: Minor, events: uint32(r.block.n), time: r.block.base}
	if r.entry {
		h.flags |= flagEntry
	}
	compressed, raw := r.block.content()
	if err := r.emit(&h, compressed, raw); err != nil {
		return err
	}
	r.begin()
	r.flushed = r.written != nil
	return nil
}

// emit seals a frame and gives it away.
func (r *recorder) emit(h *head, compressed, raw []byte) error {
	frame, err := r.seal.seal(h, compressed, raw)
	if err == nil {
		err = r.put(h, frame)
	}
	if err != nil && r.err == nil {
		r.err = err
	}
	return r.err
}

// header emits the frame that begins a trace.
func (r *recorder) header(header *Header) error {
	b, err := json.Marshal(&fileHeader{
		Format: formatName, Major: Major, Minor: Minor, Header: *header, Schema: Schema(),
	})
	if err != nil {
		return fmt.Errorf("record header: %w", err)
	}
	if prefaceSize+len(b) > MaxContent {
		return fmt.Errorf("record header of %d bytes: %w", len(b), ErrTooLarge)
	}
	h := head{kind: headerFrame, major: Major, minor: Minor, time: max(0, header.Clock.Monotonic)}
	return r.emit(&h, b, nil)
}
