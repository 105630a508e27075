package recording

import (
	"cmp"
	"fmt"
	"io"
	"iter"

	"acceptwatch/internal/event"
)

// MaxMemory is more than what a Reader and the records that it gave last take,
// in bytes, whatever a file says. A caller that keeps records has its own.
const MaxMemory = 256 << 20

// Reader reads a trace, or several that were joined. It is not safe for
// concurrent use.
//
//	for r.Next() {
//		switch rec := r.Record(); rec.Kind {
//		...
//		}
//	}
//	if err := r.Err(); err != nil {
type Reader struct {
	frames  frameReader
	ahead   *ahead // nil: a frame is read when it is needed
	current *frame // whose records are given

	samples  sampleReader
	parts    []byte // of a long record
	partKind recordType

	header  *Header
	begun   int64 // bytes: where the frame after the header is
	event   event.Event
	record  Record
	held    bool // record is the next one
	skipped int
	err     error
	done    bool
}

// NewReader reads the beginning of a trace. It returns ErrNotTrace, a
// *VersionError, a *TornError when there is not even a whole header, or the
// error of src. If the header is damaged, Header is nil until another one comes,
// and the first record tells of the damage.
func NewReader(src io.Reader) (*Reader, error) {
	return newReader(src, formats())
}

func newReader(src io.Reader, formats []format) (*Reader, error) {
	r := &Reader{
		frames:  frameReader{src: src, seeker: seekerOf(src), formats: formats, buf: make([]byte, readAtOnce), open: newOpener()},
		current: new(frame),
	}
	f := &r.frames
	first := f.fill(headSize)
	if _, ok := parseHead(first); !ok && (len(first) == headSize || !mayBegin(first)) {
		if _, found := findHead(f.fill(2 * MaxFrame)); !found && f.err == nil {
			return nil, ErrNotTrace
		}
	}
	if r.held = r.Next(); !r.held {
		return nil, cmp.Or(r.err, ErrNotTrace) // an end by itself
	}
	return r, nil
}

// Begins says whether src begins as a trace does. It reads 44 bytes.
func Begins(src io.Reader) bool {
	var first [headSize]byte
	_, err := io.ReadFull(src, first[:])
	_, ok := parseHead(first[:])
	return err == nil && ok
}

// Header is that of the trace that is being read; nil: it was damaged.
func (r *Reader) Header() *Header { return r.header }

// Skipped is how many frames and records were left out because they are of a
// later version of the format.
func (r *Reader) Skipped() int { return r.skipped }

// Err is why Next returned false: nil at the end of a trace that was closed,
// a *TornError at the end of one that was not, a *VersionError, or the error
// of the source. Damage is not an error, but a record.
func (r *Reader) Err() error { return r.err }

// Record is what Next read.
func (r *Reader) Record() *Record { return &r.record }

// All are the records that are left.
func (r *Reader) All() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for r.Next() && yield(&r.record) {
		}
	}
}

// Next reads the next record. It returns false at the end, of which Err tells.
func (r *Reader) Next() bool {
	if r.held {
		r.held = false
		return true
	}
	for !r.done {
		block := &r.current.block
		if raw, ok := block.nextRecord(); ok {
			if r.understand(&raw) {
				return r.upgraded()
			}
			continue
		}
		if block.nextEvent(&r.event) {
			if r.record.Kind != KindEvent {
				r.record = Record{Kind: KindEvent}
			}
			r.record.Event = &r.event
			return r.upgraded()
		}
		if r.nextFrame() {
			return r.upgraded()
		}
	}
	return false
}

func (r *Reader) upgraded() bool {
	for _, upgrade := range r.current.upgrades {
		upgrade(&r.record)
	}
	return true
}

// nextFrame takes the next frame. It reports true if this by itself gives a
// Record.
func (r *Reader) nextFrame() bool {
	if r.ahead != nil {
		r.current = r.ahead.next(r.current)
	} else {
		r.frames.next(r.current)
	}
	f := r.current
	switch {
	case f.end:
		r.done, r.err = true, f.err
		if f.panicked != "" {
			panic(f.panicked)
		}
		return false
	case f.damage != nil:
		r.partKind = 0
		r.record = Record{Kind: KindDamage, Damage: f.damage}
		return true
	}
	switch f.kind {
	case headerFrame:
		r.header, r.begun = f.header, f.at+f.length
		r.samples, r.partKind = sampleReader{}, 0
		r.record = Record{Kind: KindHeader, Header: r.header}
		return true
	case blockFrame, indexFrame, endFrame:
	default:
		r.skipped++
	}
	return false
}

// understand makes a Record of what a block holds. It reports false if there
// is none (yet).
func (r *Reader) understand(raw *rawRecord) bool {
	kind, b := raw.kind, raw.payload
	if kind == recordPart {
		var whole bool
		if kind, b, whole = r.assemble(b); !whole {
			return false
		}
	}
	r.record = Record{}
	ok := true
	var err error
	switch kind {
	case recordSample:
		r.record.Kind = KindSample
		r.record.Sample, r.record.Waits, err = r.samples.parse(b)
	case recordMark:
		r.record.Kind = KindMark
		r.record.Mark, ok = parseMark(b)
	case recordClock:
		r.record.Kind = KindClock
		r.record.Clock, ok = parseClock(b)
	case recordOwners:
		r.record.Kind = KindOwners
		r.record.Owners, ok = parseOwners(b)
	case recordWhy:
		r.record.Kind = KindEvidence
		r.record.Evidence, ok = parseEvidence(b)
	case recordLosses:
		f := fields{b: b}
		r.record.Kind = KindLosses
		r.record.Losses = parseLosses(&f, nil)
		ok = !f.bad
	default:
		r.skipped++
		return false
	}
	if !ok {
		err = fmt.Errorf("a record of type %d cannot be understood", kind)
	}
	if err != nil {
		r.record = Record{Kind: KindDamage, Damage: &CorruptError{Offset: r.current.at, Err: err}}
	}
	return true
}

// assemble takes a part of a long record.
func (r *Reader) assemble(b []byte) (kind recordType, whole []byte, ok bool) {
	if len(b) < 2 {
		r.skipped++
		return 0, nil, false
	}
	flags, kind := b[0], recordType(b[1])
	switch {
	case flags&partFirst != 0:
		r.parts, r.partKind = r.parts[:0], kind
	case r.partKind != kind || len(r.parts)+len(b) > MaxRecord+2:
		r.partKind = 0 // its beginning was lost
		return 0, nil, false
	}
	r.parts = append(r.parts, b[2:]...)
	if flags&partLast == 0 {
		return 0, nil, false
	}
	r.partKind = 0
	return kind, r.parts, true
}
