package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FileOptions are the settings of a recording into files.
type FileOptions struct {
	Options

	// NoSync leaves it to the kernel when what was written reaches the disk.
	// Otherwise fdatasync is called at most once a second, so that a crash of
	// the host loses two seconds at most.
	NoSync bool

	// MaxSize and MaxAge end a part and begin another one when it has that
	// many bytes, or is that old; a part is larger than MaxSize by one frame
	// and its index at most. 0: never.
	MaxSize int64
	MaxAge  time.Duration
	// Keep is how many parts that were ended are kept; 0: all.
	Keep int
}

func (o *FileOptions) rotates() bool { return o.MaxSize > 0 || o.MaxAge > 0 }

const syncEvery = int64(time.Second)

// File is a trace in a file, or in several parts. The part that is being
// written has the given name; those that were ended have a number appended,
// the latest with the greatest. Each is a whole trace, with its own header, the
// last owners, and all its samples. It is not safe for concurrent use.
type File struct {
	Writer
	opt    FileOptions
	path   string
	file   *os.File
	header Header
	owners *Owners // the last ones

	began   int64      // ns: the part's header was written
	synced  int64      // ns: the last fdatasync was begun
	dirty   bool       // written since
	syncing chan error // of the fdatasync that goes on; nil: none does
	toDisk  func(fd int) error
	parts   int
	ending  bool // the part: no other end may be made of it
}

// Create begins a trace in a file, readable for its owner only. What was in the
// file is gone, unless another writer has it (ErrBusy). Errors of the file system
// while writing are *WriteError: what was written before is kept, without a frame
// that is not whole. It keeps nothing of header.
func Create(path string, header *Header, opt FileOptions) (*File, error) {
	f := &File{opt: opt, path: path, header: *header, toDisk: unix.Fdatasync}
	f.recorder = newRecorder(opt.Options, f.frame)
	f.written = f.wrote
	f.now = header.Clock.Monotonic
	f.synced = f.now
	if err := f.begin(); err != nil {
		if f.file != nil {
			f.file.Close()
		}
		return nil, err
	}
	return f, nil
}

// begin begins a part.
func (f *File) begin() error {
	file, err := openEmpty(f.path)
	if err != nil {
		return fmt.Errorf("create trace: %w", err)
	}
	f.file, f.w, f.offset, f.index = file, file, 0, index{}
	f.began, f.dirty = f.now, false
	if f.opt.rotates() {
		if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("create trace: %w", errors.Join(err, fmt.Errorf("%s cannot be rotated: it is no regular file", f.path)))
		}
		f.parts++
		f.header.Part = f.parts
	}
	f.restart()
	return f.Writer.header(&f.header)
}

// frame writes a frame, or takes back what could be written of it.
func (f *File) frame(h *head, frame []byte) error {
	err := f.Writer.frame(h, frame)
	var failed *WriteError
	if errors.As(err, &failed) {
		failed.Path = f.path
		if err := f.file.Truncate(f.offset); err != nil && !errors.Is(err, unix.EINVAL) { // no regular file
			failed.Err = errors.Join(failed.Err, err)
		}
	}
	f.dirty = true
	return err
}

// wrote is what follows a block.
func (f *File) wrote() error {
	if f.ending {
		return nil
	}
	if f.opt.MaxSize > 0 && f.offset >= f.opt.MaxSize || f.opt.MaxAge > 0 && f.now-f.began >= int64(f.opt.MaxAge) {
		return f.rotate()
	}
	return f.sync()
}

// Tick tells the time, in ns of CLOCK_MONOTONIC: blocks and parts that have
// become old enough are written. It is to be called a few times a second.
func (f *File) Tick(now int64) error {
	if err := f.recorder.Tick(now); err != nil {
		return err
	}
	if f.opt.MaxAge > 0 && f.now-f.began >= int64(f.opt.MaxAge) {
		if err := f.Flush(); err != nil {
			return err
		}
	}
	return f.wrote()
}

// WriteClock records how the clocks relate now.
func (f *File) WriteClock(c Clock) error {
	f.header.Clock = c
	return f.recorder.WriteClock(c)
}

// WriteOwners records who has what open. It keeps o for the next part.
func (f *File) WriteOwners(o *Owners) error {
	if f.opt.rotates() {
		f.owners = o
	}
	return f.recorder.WriteOwners(o)
}

// Parts is how many files have been begun; 0 for a recording that does not
// rotate. After it has grown, a walk gives the new part the contents of the
// queues.
func (f *File) Parts() int { return f.parts }

// Close writes the last block, the index and the end, and closes the file.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	f.ending = true
	err := errors.Join(f.end(), f.release())
	if f.err == nil {
		f.err = ErrClosed
	}
	return err
}

// end ends a part, whose file stays locked.
func (f *File) end() error {
	err := f.err
	if err == nil {
		err = f.finish()
	}
	if f.syncing != nil {
		err = errors.Join(err, f.synchronised(<-f.syncing))
	}
	if !f.opt.NoSync && f.err == nil {
		err = errors.Join(err, f.synchronised(f.toDisk(int(f.file.Fd()))))
	}
	return err
}

// release closes the file.
func (f *File) release() error {
	err := f.file.Close()
	f.file = nil
	if err != nil {
		return fmt.Errorf("close trace: %w", err)
	}
	return nil
}

// sync asks for an fdatasync when it is time, and does not wait for it.
func (f *File) sync() error {
	if f.syncing != nil {
		select {
		case err := <-f.syncing:
			if err := f.synchronised(err); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	if f.opt.NoSync || !f.dirty || f.now-f.synced < syncEvery {
		return nil
	}
	f.synced, f.dirty = f.now, false
	f.syncing = make(chan error, 1)
	go func(fd int, done chan<- error) {
		done <- f.toDisk(fd)
	}(int(f.file.Fd()), f.syncing)
	return nil
}

// synchronised takes what fdatasync said.
func (f *File) synchronised(err error) error {
	f.syncing = nil
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) { // nothing that has a disk
		return nil
	}
	f.err = &WriteError{Path: f.path, Offset: f.offset, Err: fmt.Errorf("fdatasync: %w", err)}
	return f.err
}

// rotate ends the part and begins the next one.
func (f *File) rotate() error {
	f.ending = true
	err := f.end()
	if err == nil {
		err = f.shelve() // before another writer can have it
	}
	err = errors.Join(err, f.release())
	if err == nil {
		err = f.begin()
	}
	if err == nil && f.owners != nil {
		err = f.recorder.WriteOwners(f.owners)
	}
	f.ending = false
	if err != nil && f.err == nil {
		f.err = err
	}
	return f.err
}

// shelve gives the part that was ended its number, and removes those that are
// too many.
func (f *File) shelve() error {
	numbers, err := numbered(f.path)
	if err != nil {
		return fmt.Errorf("rotate trace: %w", err)
	}
	next := 1
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	if err := os.Rename(f.path, shelved(f.path, next)); err != nil {
		return fmt.Errorf("rotate trace: %w", err)
	}
	numbers = append(numbers, next)
	if f.opt.Keep <= 0 {
		return nil
	}
	for _, n := range numbers[:max(0, len(numbers)-f.opt.Keep)] {
		if err := os.Remove(shelved(f.path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate trace: %w", err)
		}
	}
	return nil
}

func shelved(path string, n int) string { return fmt.Sprintf("%s.%06d", path, n) }

// numbered are the numbers of the parts of a trace that were ended, in order.
func numbered(path string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		suffix, ok := strings.CutPrefix(entry.Name(), filepath.Base(path)+".")
		if n, err := strconv.Atoi(suffix); ok && err == nil && n > 0 && shelved(path, n) == filepath.Join(filepath.Dir(path), entry.Name()) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
