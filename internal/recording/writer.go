package recording

import (
	"encoding/binary"
	"errors"
	"io"
)

// Writer writes a trace. It is not safe for concurrent use. After an error of
// the io.Writer, which is a *WriteError, it writes nothing more and returns
// that error always.
type Writer struct {
	recorder
	w      io.Writer
	offset int64 // bytes of whole frames
	index  index
}

// NewWriter begins a trace on w: its header is written at once. Each block is
// one call of w.Write. It keeps nothing of header.
func NewWriter(w io.Writer, header *Header, opt Options) (*Writer, error) {
	t := &Writer{w: w}
	t.recorder = newRecorder(opt, t.frame)
	t.now = header.Clock.Monotonic
	if err := t.header(header); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Writer) frame(h *head, frame []byte) error {
	n, err := t.w.Write(frame)
	if err == nil && n < len(frame) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &WriteError{Offset: t.offset, Err: err}
	}
	if h.kind == blockFrame && h.flags&flagEntry != 0 {
		t.index.add(t.offset, h.time)
	}
	t.offset += int64(len(frame))
	return nil
}

// Size is how many bytes have been written, of whole frames.
func (t *Writer) Size() int64 { return t.offset }

// Close writes the last block, the index and the end. It does not close the
// io.Writer.
func (t *Writer) Close() error {
	if errors.Is(t.err, ErrClosed) {
		return nil
	}
	err := t.finish()
	if t.err == nil {
		t.err = ErrClosed
	}
	return err
}

func (t *Writer) finish() error {
	if err := t.Flush(); err != nil {
		return err
	}
	at := t.offset
	h := head{kind: indexFrame, major: Major, minor: Minor, time: max(0, t.now)}
	if err := t.emit(&h, t.index.append(nil, at), nil); err != nil {
		return err
	}
	h = head{kind: endFrame, major: Major, minor: Minor, time: max(0, t.now)}
	return t.emit(&h, nil, binary.LittleEndian.AppendUint64(nil, uint64(t.offset-at)))
}

// endSize is how long an end frame is.
const endSize = minFrame + 8

// mostIndexed is how many places an index has. When there are more, every
// second one is dropped.
const mostIndexed = 1 << 12

// index is where reading can begin: the frames that can be understood without
// what came before.
type index struct {
	places []indexed
	skip   int // of those that come in, how many are left out after each that is kept
	count  int // since the last that was kept
}

type indexed struct {
	offset int64 // of the frame, from the beginning of the trace
	time   int64 // ns: nothing before it is later
}

func (x *index) add(offset, time int64) {
	if len(x.places) > 0 && x.count < x.skip {
		x.count++
		return
	}
	x.count = 0
	if len(x.places) == mostIndexed {
		for i := range mostIndexed / 2 {
			x.places[i] = x.places[2*i]
		}
		x.places = x.places[:mostIndexed/2]
		x.skip = 2*x.skip + 1
	}
	x.places = append(x.places, indexed{offset, time})
}

// append encodes the index, of a trace in which it is at the offset at.
func (x *index) append(b []byte, at int64) []byte {
	b = binary.AppendUvarint(b, uint64(at))
	b = binary.AppendUvarint(b, uint64(len(x.places)))
	var before indexed
	for _, p := range x.places {
		b = binary.AppendUvarint(b, uint64(p.offset-before.offset))
		b = binary.AppendUvarint(b, uint64(p.time-before.time))
		before = p
	}
	return b
}

// parseIndex is the inverse of append, for an index that is at the offset at.
func parseIndex(b []byte, at int64) (places []indexed, ok bool) {
	f := fields{b: b}
	if f.uvarint() != uint64(at) {
		return nil, false // traces were joined: the offsets are those of one of them
	}
	var p indexed
	for n := f.count(mostIndexed); n > 0 && !f.bad; n-- {
		offset, time := f.uvarint(), f.uvarint()
		p.offset += int64(offset)
		p.time += int64(time)
		if p.offset <= 0 || p.offset >= at || p.time < 0 || offset >= uint64(at) {
			return nil, false
		}
		places = append(places, p)
	}
	return places, !f.bad
}
