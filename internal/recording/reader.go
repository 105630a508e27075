package recording

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"acceptwatch/internal/event"
)

// MaxMemory is more than what a Reader and the records that it gave last take,
// in bytes, whatever a file says. A caller that keeps records has its own.
const MaxMemory = 256 << 20

// readAhead is how much is read at once, in bytes, unless a frame needs more.
const readAhead = 64 << 10

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
	src     io.Reader
	formats []format

	buf        []byte
	start, end int   // of what was read ahead, in buf
	offset     int64 // of buf[start] in the trace
	atEOF      bool

	open     *opener
	block    blockReader
	frame    int64 // offset of the block
	upgrades []func(*Record)
	samples  sampleReader
	parts    []byte // of a long record
	partKind recordType

	header  *Header
	event   event.Event
	record  Record
	held    bool // record is the next one
	ended   bool // the last frame was the end of a trace
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
	r := &Reader{src: src, formats: formats, buf: make([]byte, readAhead), open: newOpener()}
	first := r.fill(headSize)
	if _, ok := parseHead(first); !ok && (len(first) == headSize || !mayBegin(first)) {
		if _, found := findHead(r.fill(2 * MaxFrame)); !found && r.err == nil {
			return nil, ErrNotTrace
		}
	}
	if r.held = r.Next(); !r.held {
		return nil, cmp.Or(r.err, ErrNotTrace) // an end by itself
	}
	return r, nil
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
	for r.err == nil && !r.done {
		if raw, ok := r.block.nextRecord(); ok {
			if r.understand(&raw) {
				return r.upgraded()
			}
			continue
		}
		if r.block.nextEvent(&r.event) {
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
	for _, upgrade := range r.upgrades {
		upgrade(&r.record)
	}
	return true
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
		r.damage(r.frame, 0, err)
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

// damage makes a Record of damage.
func (r *Reader) damage(offset, length int64, err error) {
	r.record = Record{Kind: KindDamage, Damage: &CorruptError{Offset: offset, Length: length, Err: err}}
}

// fill gives what is read ahead: at least n bytes, or what is left.
func (r *Reader) fill(n int) []byte {
	for idle := 0; r.end-r.start < n && !r.atEOF && r.err == nil; {
		if r.start+n > len(r.buf) {
			ahead := r.buf[r.start:r.end]
			if n > len(r.buf) {
				r.buf = make([]byte, max(n, 2*len(r.buf)))
			}
			r.end = copy(r.buf, ahead)
			r.start = 0
		}
		got, err := r.src.Read(r.buf[r.end:])
		r.end += got
		switch {
		case errors.Is(err, io.EOF):
			r.atEOF = true
		case err != nil:
			r.err = fmt.Errorf("read trace: %w", err)
		case got > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				r.err = fmt.Errorf("read trace: %w", io.ErrNoProgress)
			}
		}
	}
	return r.buf[r.start:r.end]
}

func (r *Reader) skip(n int) {
	r.start += n
	r.offset += int64(n)
}

// atEnd says that nothing is left to be read.
func (r *Reader) atEnd() bool { return len(r.fill(1)) == 0 }

var (
	errHead   = errors.New("there is no frame where one should begin")
	errBlock  = errors.New("the content of the frame is not what a writer writes")
	errHeader = errors.New("the header cannot be understood")
)

// nextFrame reads a frame. It reports true if this by itself gives a Record.
func (r *Reader) nextFrame() bool {
	b := r.fill(headSize)
	if r.err != nil {
		return false
	}
	if len(b) == 0 {
		r.done = true
		if !r.ended {
			r.err = &TornError{Offset: r.offset}
		}
		return false
	}
	h, ok := parseHead(b)
	if !ok {
		if len(b) < headSize && mayBegin(b) {
			r.err = &TornError{Offset: r.offset, Tail: int64(len(b))}
			return false
		}
		return r.resume()
	}
	b = r.fill(int(h.length))
	if r.err != nil {
		return false
	}
	if len(b) < int(h.length) {
		r.err = &TornError{Offset: r.offset, Tail: int64(len(b))}
		return false
	}
	b = b[:h.length]
	at := r.offset
	r.skip(len(b))
	r.ended = false
	upgrades, ok := upgrades(r.formats, h.major)
	if !ok {
		r.err = &VersionError{Major: int(h.major), Minor: int(h.minor)}
		return false
	}
	r.upgrades = upgrades
	compressed, raw, err := r.open.open(&h, b)
	if err != nil {
		return r.lost(at, len(b), err)
	}
	return r.take(&h, at, compressed, raw)
}

// take takes the content of a good frame.
func (r *Reader) take(h *head, at int64, compressed, raw []byte) bool {
	switch h.kind {
	case headerFrame:
		var header fileHeader
		if err := json.Unmarshal(compressed, &header); err != nil || header.Format != formatName {
			return r.lost(at, int(h.length), errHeader)
		}
		r.header = &header.Header
		r.samples, r.partKind = sampleReader{}, 0
		r.record = Record{Kind: KindHeader, Header: r.header}
		return true
	case blockFrame:
		r.frame = at
		if !r.block.begin(h.time, int(h.events), compressed, raw) {
			return r.lost(at, int(h.length), errBlock)
		}
	case indexFrame:
	case endFrame:
		r.ended = true
	default:
		r.skipped++
	}
	return false
}

// lost makes a Record of a frame whose place is known and whose content is bad.
func (r *Reader) lost(at int64, length int, err error) bool {
	r.partKind = 0
	// What may have been the end is not missing, but damaged.
	r.ended = r.atEnd()
	r.damage(at, int64(length), err)
	return true
}

// resume looks for the next frame, from where there is none, and makes a
// Record of what it passes over.
func (r *Reader) resume() bool {
	at := r.offset
	r.skip(1)
	for {
		b := r.fill(MaxFrame)
		if r.err != nil {
			return false
		}
		n, found := findHead(b)
		if !found && r.atEOF {
			n = len(b)
		}
		r.skip(n)
		if found || r.atEOF {
			return r.lost(at, int(r.offset-at), errHead)
		}
	}
}
