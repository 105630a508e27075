package ui

import (
	"io"
	"time"

	"acceptwatch/internal/event"
)

const (
	// linesASecond is how many plain accepted lines a person can follow.
	linesASecond = 50
	// titlesEvery is after how many lines a terminal gets the titles again:
	// about when they have left it.
	titlesEvery = 40
	// flushAt is when the buffer is written before it is asked for, in bytes.
	flushAt = 1 << 16
)

// Options say where and how a Printer prints.
type Options struct {
	Out   io.Writer
	Color bool
	// Terminal limits plain accepted lines to 50 a second, and repeats the
	// column titles.
	Terminal bool
	All      bool // no limit
	// Width is asked for the width of the terminal, in columns, at each line
	// of titles; 0: not a terminal, nothing is cut.
	Width func() int
	Wall  func(ns int64) time.Time // from CLOCK_MONOTONIC
	Now   func() time.Time
}

// Printer writes the text of a trace: a header, a line an event, a summary. It
// buffers until Flush. It is for one goroutine.
type Printer struct {
	opt Options
	renderer
	buf     []byte
	err     error // of the first write that failed
	limiter limiter
	lines   int // since the titles
	noted   struct{ unknown, sampled bool }
}

// NewPrinter makes a Printer.
func NewPrinter(o Options) *Printer {
	p := &Printer{opt: o, renderer: renderer{palette: palette{o.Color}, wall: o.Wall}}
	if o.Terminal && !o.All {
		p.limiter.perSecond = linesASecond
	}
	p.layout = layoutFor(o.Width())
	return p
}

// Titles prints the line of column titles, for the width that the terminal has
// now.
func (p *Printer) Titles() {
	p.layout = layoutFor(p.opt.Width())
	p.buf = p.append(p.buf, strong)
	p.buf = p.end(p.appendColumns(p.buf), strong)
	p.buf = append(p.buf, '\n')
	p.lines = 0
}

// Line prints an event. On a terminal, a plain accepted line may be counted
// only.
func (p *Printer) Line(l *Line) {
	p.Tick()
	if l.Kind == event.Accepted && !l.isProblem() && !p.limiter.allow() {
		return
	}
	if p.opt.Terminal && p.lines >= titlesEvery {
		p.Titles()
	}
	p.buf = p.appendLine(p.buf, l)
	p.lines++
	if len(p.buf) >= flushAt {
		_ = p.Flush() // which the next one tells
	}
	if l.Kind != event.Accepted {
		return
	}
	if _, known := l.Wait(); !known && !p.noted.unknown {
		p.noted.unknown = true
		p.note("0*: accepted in the moment in which it was queued, before the kernel had noted the time")
	}
	if l.Flags&event.Sampled != 0 && !p.noted.sampled {
		p.noted.sampled = true
		p.note("~: sampled; the connection was accepted up to 0.1 s before")
	}
}

// Tick prints how many lines were not shown, when a second is over.
func (p *Printer) Tick() {
	if p.limiter.perSecond == 0 {
		return
	}
	if held := p.limiter.turn(p.opt.Now()); held > 0 {
		p.more(held)
	}
}

func (p *Printer) more(held uint64) {
	p.note("... " + Count(held) + " more accepted")
	p.lines++
}

// note prints what is not data.
func (p *Printer) note(text string) {
	if p.edge > 0 {
		text = string(appendWrapped(nil, text, "", "   ", p.edge))
	}
	p.buf = append(p.buf, p.paint(faint, text)...)
	p.buf = append(p.buf, '\n')
}

// print prints a paragraph, wrapped at the edge of a terminal.
func (p *Printer) print(s style, indent, text string) {
	edge := p.edge
	if edge == 0 {
		edge = 1 << 20
	}
	p.buf = p.append(p.buf, s)
	p.buf = appendWrapped(p.buf, text, indent, indent+"  ", edge)
	p.buf = append(p.end(p.buf, s), '\n')
}

// Flush writes what was printed. The error is that of the writer.
func (p *Printer) Flush() error {
	if len(p.buf) > 0 && p.err == nil {
		_, p.err = p.opt.Out.Write(p.buf)
	}
	p.buf = p.buf[:0]
	return p.err
}
