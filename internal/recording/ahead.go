package recording

import (
	"fmt"
	"runtime/debug"
)

// framesAhead is how many frames are in memory when they are read ahead: one
// whose records are being given, one that is ready, and one that is being read.
const framesAhead = 3

// ahead reads frames before they are asked for, in a goroutine of its own.
type ahead struct {
	ready   chan *frame
	used    chan *frame
	quit    chan struct{}
	stopped chan struct{}
}

// ReadAhead makes what follows faster where there is a second processor: frames
// are read and decompressed while the records of those before are used. It must be
// ended by the function that it returns, after which nothing more can be read.
func (r *Reader) ReadAhead() (stop func()) {
	if r.ahead == nil && !r.done {
		r.ahead = newAhead(&r.frames)
	}
	return func() {
		if r.ahead != nil {
			close(r.ahead.quit) // it may be in a Read that takes long
			r.ahead, r.done = nil, true
		}
	}
}

func newAhead(from *frameReader) *ahead {
	a := &ahead{
		ready: make(chan *frame, framesAhead), used: make(chan *frame, framesAhead),
		quit: make(chan struct{}), stopped: make(chan struct{}),
	}
	for range framesAhead - 1 { // and the one that the Reader has
		a.used <- new(frame)
	}
	go func() {
		defer close(a.stopped)
		for {
			select {
			case <-a.quit:
				return
			case f := <-a.used:
				from.nextOrWhy(f)
				a.ready <- f // there is room for all
				if f.end {
					return
				}
			}
		}
	}()
	return a
}

// nextOrWhy is next, but for that a panic is left to who takes the frame: that may
// have a terminal to give back first, which a panic in this goroutine does not.
func (r *frameReader) nextOrWhy(f *frame) {
	defer func() {
		if failure := recover(); failure != nil {
			f.end, f.panicked = true, fmt.Sprintf("%v\n\n%s", failure, debug.Stack())
		}
	}()
	r.next(f)
}

// next gives a frame for one that is not used any more.
func (a *ahead) next(used *frame) *frame {
	a.used <- used
	return <-a.ready
}

// stop ends the goroutine. What it has read ahead is lost.
func (a *ahead) stop() {
	close(a.quit)
	<-a.stopped
}
