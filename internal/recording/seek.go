package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrNoSeek says that the source of a Reader cannot go to another place.
var ErrNoSeek = errors.New("this source of a trace cannot seek")

// Lead is how long before a time one should begin to read who shows a trace from
// there on, in ns: a recorder tells again within it who holds what, and what the
// queues hold, so that who died in them before is known. Samples tell since when
// nobody accepts, however long ago; but who accepted last before a longer stall, and
// what was recorded in its beginning, is not read.
const Lead = int64(time.Minute)

// SeekTime goes to a place in the trace that is being read from which Next reads
// everything that was recorded in it at or after a time, in ns of
// CLOCK_MONOTONIC, and something of before: as far back as the last sample in
// full, so that all samples are understood. The header is not read again. The
// source must be an io.Seeker, of which the first byte is that of the Reader. The
// index, if there is one, only makes it faster.
func (r *Reader) SeekTime(at int64) error {
	f := &r.frames
	src := f.seeker
	if src == nil {
		return ErrNoSeek
	}
	if r.ahead != nil {
		r.ahead.stop()
		defer func() { r.ahead = newAhead(f) }()
	}
	r.current.block.empty()
	r.samples, r.partKind = sampleReader{}, 0
	r.held, r.done, r.err = false, false, nil
	places, err := f.indexed(src)
	if err != nil {
		return err
	}
	// Behind the last place that the index knows, there may be more.
	best := r.begun
	for _, p := range places {
		if p.time > at || r.begun > p.offset {
			break
		}
		best = p.offset
	}
	if err := f.jump(src, best); err != nil {
		return err
	}
	if best, err = f.scan(src, at, best); err != nil {
		return err
	}
	return f.jump(src, best)
}

// seekerOf is a source that can go to another place; nil: it cannot. It is asked
// before anything reads from it.
func seekerOf(src io.Reader) io.Seeker {
	s, ok := src.(io.Seeker)
	if !ok {
		return nil
	}
	if _, err := s.Seek(0, io.SeekCurrent); err != nil {
		return nil // a pipe has the method, too
	}
	return s
}

// jump goes to an offset, at which a frame begins.
func (r *frameReader) jump(src io.Seeker, offset int64) error {
	r.start, r.end, r.offset, r.atEOF = 0, 0, offset, false
	r.ended, r.err = false, nil
	if _, err := src.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("seek in trace: %w", err)
	}
	return nil
}

// scan goes from head to head, and gives the last place to begin that is not
// after a time: best, if there is none from there on.
func (r *frameReader) scan(src io.Seeker, at, best int64) (int64, error) {
	for {
		h, ok := parseHead(r.fill(headSize))
		switch {
		case r.err != nil:
			return 0, r.err
		case !ok && r.end-r.start < headSize:
			return best, nil
		case !ok:
			r.resume(new(frame))
			continue
		case h.time > at || h.kind == headerFrame: // another trace has other clocks
			return best, nil
		}
		if h.kind == blockFrame && h.flags&flagEntry != 0 {
			best = r.offset
		}
		if int(h.length) <= r.end-r.start {
			r.skip(int(h.length))
		} else if err := r.jump(src, r.offset+int64(h.length)); err != nil {
			return 0, err
		}
	}
}

// indexed are the places in the index; none, if there is no good index.
func (r *frameReader) indexed(src io.Seeker) ([]indexed, error) {
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("seek in trace: %w", err)
	}
	end, raw, err := r.frameAt(src, size-endSize, endFrame)
	if end == nil || len(raw) != 8 {
		return nil, err
	}
	back := binary.LittleEndian.Uint64(raw)
	if back > MaxFrame {
		return nil, nil
	}
	at := size - endSize - int64(back)
	if _, raw, err = r.frameAt(src, at, indexFrame); err != nil {
		return nil, err
	}
	places, _ := parseIndex(raw, at)
	return places, nil
}

// frameAt reads one frame; nil: there is no good one of this type there.
func (r *frameReader) frameAt(src io.Seeker, at int64, kind frameType) (*head, []byte, error) {
	if at < 0 {
		return nil, nil, nil
	}
	if err := r.jump(src, at); err != nil {
		return nil, nil, err
	}
	h, ok := parseHead(r.fill(headSize))
	if !ok || h.kind != kind {
		return nil, nil, r.err
	}
	b := r.fill(int(h.length))
	if len(b) < int(h.length) {
		return nil, nil, r.err
	}
	compressed, raw, err := r.open.open(&h, b[:h.length], new([]byte))
	if err != nil {
		return nil, nil, nil
	}
	if len(raw) == 0 {
		raw = compressed
	}
	return &h, raw, nil
}
