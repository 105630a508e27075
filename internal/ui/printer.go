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
	// Terminal limits plain accepted lines to 50 a second, those of refused
	// connections and of failed accepts to 5 each a second and listener, and
	// repeats the column titles.
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
	floods  floods
	failing failing
	lines   int // since the titles
	noted   struct {
		unknown, sampled, about bool
		errnos                  map[uint16]bool
	}
}

// NewPrinter makes a Printer.
func NewPrinter(o Options) *Printer {
	p := &Printer{opt: o, renderer: renderer{palette: palette{o.Color}, wall: o.Wall}}
	if o.Terminal && !o.All {
		p.limiter.perSecond, p.floods.perSecond = linesASecond, refusalsASecond
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

// Line prints an event. On a terminal, one that is plainly accepted, refused or
// a failed accept may be counted only.
func (p *Printer) Line(l *Line) {
	p.Tick()
	switch {
	case l.Kind == event.AcceptError:
		timed := *l
		timed.Over = p.failing.since(l.Event)
		l = &timed
		if !p.floods.allow(l) {
			return
		}
	case l.Kind == event.Overflow && !p.floods.allow(l),
		l.Kind == event.Accepted && !l.isProblem() && !p.limiter.allow():
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
	p.explain(l)
}

// explain says once what a mark of a line means, or what to do about an errno.
func (p *Printer) explain(l *Line) {
	switch l.Kind {
	case event.Accepted:
		if _, known := l.Wait(); !known && !p.noted.unknown {
			p.noted.unknown = true
			p.note(faint, "0*: accepted in the moment in which it was queued, before the kernel had noted the time")
		}
		if l.Flags&event.Sampled != 0 && !p.noted.sampled {
			p.noted.sampled = true
			p.note(faint, "~ before a wait: sampled; the connection was accepted up to 0.1 s before")
		}
	case event.CloseWait, event.Reset:
		if !l.DepthKnown() && l.AboutDepth > 0 && !p.noted.about {
			p.noted.about = true
			p.note(faint, "~ before a depth: as of the last count, a moment before")
		}
	case event.AcceptError:
		if _, remedy := failureWords(l.Errno); remedy != "" && !l.endsListening() && !p.noted.errnos[l.Errno] {
			if p.noted.errnos == nil {
				p.noted.errnos = make(map[uint16]bool)
			}
			p.noted.errnos[l.Errno] = true
			p.note(strong, event.ErrnoName(l.Errno)+": "+remedy)
		}
	}
}

// Tick prints how many lines were not shown, when a second is over.
func (p *Printer) Tick() {
	if p.limiter.perSecond == 0 {
		return
	}
	now := p.opt.Now()
	if held := p.limiter.turn(now); held > 0 {
		p.more(held)
	}
	p.moreRefused(p.floods.turn(now))
}

func (p *Printer) more(held uint64) {
	p.note(faint, "... "+Count(held)+" more accepted")
	p.lines++
}

func (p *Printer) moreRefused(lines []string) {
	for _, text := range lines {
		p.note(problem, text)
		p.lines++
	}
}

// note prints what is not data.
func (p *Printer) note(s style, text string) {
	if p.edge > 0 {
		text = string(appendWrapped(nil, text, "", "   ", p.edge))
	}
	p.buf = append(p.buf, p.paint(s, text)...)
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
