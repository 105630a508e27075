package recording

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readAtOnce is how much is asked of the source at once, in bytes, unless a frame
// needs more.
const readAtOnce = 64 << 10

// frameReader takes a trace apart into frames.
type frameReader struct {
	src     io.Reader
	seeker  io.Seeker // src; nil: it cannot seek
	formats []format
	open    *opener

	buf        []byte
	start, end int   // of what was read and not yet used, in buf
	offset     int64 // of buf[start] in the trace
	atEOF      bool
	ended      bool  // the last frame was the end of a trace
	err        error // of the source
}

// frame is what was read: a frame, or what is in the place of one.
type frame struct {
	at       int64 // bytes: offset in the trace
	length   int64 // bytes: of the frame
	kind     frameType
	header   *Header     // of a headerFrame
	block    blockReader // of a blockFrame; else empty
	content  []byte      // which block refers to
	upgrades []func(*Record)

	damage *CorruptError // there is no frame that can be understood
	end    bool          // nor will there be another one
	err    error         // why not; nil: the trace was closed

	panicked string // what reading it ahead has panicked with, and where; empty: it has not
}

var (
	errHead   = errors.New("there is no frame where one should begin")
	errBlock  = errors.New("the content of the frame is not what a writer writes")
	errHeader = errors.New("the header cannot be understood")
)

// next reads a frame into f, whose memory is used again.
func (r *frameReader) next(f *frame) {
	*f = frame{at: r.offset, block: f.block, content: f.content}
	f.block.empty()
	b := r.fill(headSize)
	switch h, ok := parseHead(b); {
	case r.err != nil:
	case len(b) == 0:
		f.end = true
		if !r.ended {
			f.err = &TornError{Offset: r.offset}
		}
	case ok:
		r.take(f, &h)
	case len(b) < headSize && mayBegin(b):
		f.end, f.err = true, &TornError{Offset: r.offset, Tail: int64(len(b))}
	default:
		r.resume(f)
	}
	if r.err != nil {
		f.end, f.err = true, r.err
	}
}

// take takes the frame that h is the head of.
func (r *frameReader) take(f *frame, h *head) {
	b := r.fill(int(h.length))
	if len(b) < int(h.length) {
		f.end, f.err = true, &TornError{Offset: r.offset, Tail: int64(len(b))}
		return
	}
	b = b[:h.length]
	r.skip(len(b))
	var known bool
	if f.upgrades, known = upgrades(r.formats, h.major); !known {
		f.end, f.err = true, &VersionError{Major: int(h.major), Minor: int(h.minor)}
		return
	}
	f.length = int64(len(b))
	r.ended = h.kind == endFrame
	if err := r.understand(f, h, b); err != nil {
		f.block.empty()
		r.lost(f, err)
	}
}

// understand takes the content of a frame.
func (r *frameReader) understand(f *frame, h *head, b []byte) error {
	compressed, raw, err := r.open.open(h, b, &f.content)
	if err != nil {
		return err
	}
	f.kind = h.kind
	switch h.kind {
	case headerFrame:
		var header fileHeader
		if err := json.Unmarshal(compressed, &header); err != nil || header.Format != formatName {
			return errHeader
		}
		f.header = &header.Header
	case blockFrame:
		if !f.block.begin(h.time, int(h.events), compressed, raw) {
			return errBlock
		}
	}
	return nil
}

// lost notes that nothing can be understood from f.at up to here.
func (r *frameReader) lost(f *frame, err error) {
	f.damage = &CorruptError{Offset: f.at, Length: r.offset - f.at, Err: err}
	// What may have been the end is not missing, but damaged.
	r.ended = r.atEnd()
}

// resume looks for the next frame, from where there is none.
func (r *frameReader) resume(f *frame) {
	r.skip(1)
	for {
		b := r.fill(MaxFrame)
		if r.err != nil {
			return
		}
		n, found := findHead(b)
		if !found && r.atEOF {
			n = len(b)
		}
		r.skip(n)
		if found || r.atEOF {
			r.lost(f, errHead)
			return
		}
	}
}

// fill gives what was read and not yet used: at least n bytes, or what is left.
func (r *frameReader) fill(n int) []byte {
	for idle := 0; r.end-r.start < n && !r.atEOF && r.err == nil; {
		if r.start+n > len(r.buf) {
			unused := r.buf[r.start:r.end]
			if n > len(r.buf) {
				r.buf = make([]byte, max(n, 2*len(r.buf)))
			}
			r.end = copy(r.buf, unused)
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

func (r *frameReader) skip(n int) {
	r.start += n
	r.offset += int64(n)
}

// atEnd says that nothing is left to be read.
func (r *frameReader) atEnd() bool { return len(r.fill(1)) == 0 }
