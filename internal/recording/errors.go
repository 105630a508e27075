package recording

import (
	"errors"
	"fmt"
	"syscall"

	"acceptwatch/internal/quantity"
)

// ErrNotTrace says that there is nothing of a trace in a file.
var ErrNotTrace = errors.New("not an acceptwatch trace")

// ErrTooLarge says that a record is beyond the bounds of the format.
var ErrTooLarge = errors.New("too large to be recorded")

// ErrClosed says that the recording has been closed.
var ErrClosed = errors.New("recording is closed")

// ErrKind says that events of this kind are never recorded, since whoever
// replays derives them again.
var ErrKind = errors.New("events of this kind are not recorded")

// TornError says that a trace has no end: its writer was killed, or still
// writes, or the file was cut. Everything before Offset was read.
type TornError struct {
	Offset int64 // bytes: where the last whole frame ends
	Tail   int64 // bytes after it, of a frame that is not whole
}

func (e *TornError) Error() string {
	if e.Tail == 0 {
		return fmt.Sprintf("trace stops at byte %d without its end: it was cut there, or is still being written", e.Offset)
	}
	return fmt.Sprintf("trace is cut short: the last whole frame ends at byte %d, and %s of the next one", e.Offset, quantity.Of(e.Tail, "byte[ follows|s follow]"))
}

// CorruptError says that a part of a trace is not what was written. Reading
// goes on after it.
type CorruptError struct {
	Offset int64 // bytes: where the frame is
	Length int64 // bytes that were skipped; 0: a record of a frame that is otherwise good
	Err    error // what was wrong
}

func (e *CorruptError) Error() string {
	if e.Length == 0 {
		return fmt.Sprintf("trace is damaged in the frame at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("trace is damaged at byte %d, %s skipped: %v", e.Offset, quantity.Plural(e.Length, "byte"), e.Err)
}

// Unwrap is what was wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError says that a trace is of a version that cannot be read.
type VersionError struct {
	Major, Minor int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("trace has format %d.%d, and this program reads formats 1 to %d: read it with the acceptwatch that wrote it, or a newer one",
		e.Major, e.Minor, Major)
}

// WriteError says that a trace could not be written any further. What was
// written before Offset is a valid trace without an end.
type WriteError struct {
	Path   string // empty: not known
	Offset int64  // bytes: where the last whole frame ends
	Err    error
}

func (e *WriteError) Error() string {
	name := e.Path
	if name == "" {
		name = "trace"
	}
	if e.Full() {
		return fmt.Sprintf("write %s: no room (%v): the recording ends here, and its first %d bytes can be read", name, e.Err, e.Offset)
	}
	return fmt.Sprintf("write %s: %v: the recording ends here, and its first %d bytes can be read", name, e.Err, e.Offset)
}

// Unwrap is what the system said.
func (e *WriteError) Unwrap() error { return e.Err }

// Full says that there was no room: the disk, a quota or a limit was reached.
func (e *WriteError) Full() bool {
	return errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT) || errors.Is(e.Err, syscall.EFBIG)
}
