// Package wire is the protocol between vmrun on the host and its init in the
// guest: frames of one kind byte, a little-endian 32-bit length and a payload.
//
// The guest speaks first, with [Ready]. The host answers with [Start], whose
// payload is a [Job]; so a guest that the host has given up on never starts
// anything. Output follows as it is written, then the files that were asked
// for, then [Exit], which is always the last frame. [Failure] replaces Exit when
// init itself cannot go on.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// PortName is the name of the virtio-serial port that carries the frames.
const PortName = "acceptwatch.vmrun"

// Kind says what a frame's payload is.
type Kind byte

// The frames. Guest to host unless it says otherwise.
const (
	Ready    Kind = 1 + iota // Hello as JSON: init runs, nothing was started
	Start                    // host to guest: Job as JSON
	Stdin                    // host to guest: bytes for the command
	StdinEnd                 // host to guest: no more of them
	Signal                   // host to guest: one byte, a signal for the command
	Stdout                   // bytes
	Stderr                   // bytes
	File                     // FileInfo as JSON; its FileData frames follow
	FileData                 // bytes of the file announced last
	FileEnd                  // no more of them
	Exit                     // Status as JSON
	Failure                  // text: what init could not do
	lastKind = Failure
)

// MaxPayload is the largest payload in bytes. Writers of bytes split at
// [Chunk].
const (
	MaxPayload = 1 << 20
	Chunk      = 32 << 10
)

const headerSize = 5

// Hello is the payload of Ready.
type Hello struct {
	Release string // uname -r
	Uptime  int64  // of the guest, in ns
}

// Job is what the guest is to do.
type Job struct {
	Hostname string
	Argv     []string
	Env      []string // NAME=value
	Dir      string
	Stdin    bool     // Stdin frames will follow; else the command reads an empty file
	Fetch    []string // globs of the files to return
	Disk     string   // where to mount the disk; empty: there is none
}

// Status is how the command ended.
type Status struct {
	Code   int // 128 + Signal when a signal ended it
	Signal int
}

// FileInfo announces a file.
type FileInfo struct {
	Path string // in the guest, absolute
	Size int64  // in bytes, as it was when the file was opened
}

// Frame is one message.
type Frame struct {
	Kind    Kind
	Payload []byte
}

// FormatError says that what was read is not the protocol.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "read frame: " + e.Reason }

// Reader reads frames.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader reads frames from r, which it buffers.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next frame. Its payload is valid until the next call. The
// error is io.EOF between frames, io.ErrUnexpectedEOF inside one and a
// *FormatError for what cannot be a frame.
func (r *Reader) Next() (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return Frame{}, err
	}
	kind, size := Kind(header[0]), binary.LittleEndian.Uint32(header[1:])
	if kind < Ready || kind > lastKind {
		return Frame{}, &FormatError{fmt.Sprintf("unknown kind %d", kind)}
	}
	if size > MaxPayload {
		return Frame{}, &FormatError{fmt.Sprintf("payload of %d bytes", size)}
	}
	if uint32(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	payload := r.buf[:size]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return Frame{kind, payload}, nil
}

// Decode reads the JSON payload of f into v.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Payload, v); err != nil {
		return &FormatError{err.Error()}
	}
	return nil
}

// Writer writes frames. Its methods may be called from several goroutines.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter writes frames to w, each in one call.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends one frame.
func (w *Writer) Write(kind Kind, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("write frame: payload of %d bytes is over the limit of %d", len(payload), MaxPayload)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf[:0], byte(kind))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(payload)))
	w.buf = append(w.buf, payload...)
	_, err := w.w.Write(w.buf)
	return err
}

// WriteJSON sends v as the payload of one frame.
func (w *Writer) WriteJSON(kind Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return w.Write(kind, payload)
}

// Stream is an io.Writer whose bytes become frames of one kind.
func (w *Writer) Stream(kind Kind) io.Writer { return stream{w, kind} }

type stream struct {
	w    *Writer
	kind Kind
}

func (s stream) Write(p []byte) (int, error) {
	var done int
	for done < len(p) {
		n := min(len(p)-done, Chunk)
		if err := s.w.Write(s.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
