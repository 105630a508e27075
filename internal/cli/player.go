package cli

import (
	"context"
	"math"
	"sync"
	"time"

	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui/top"
)

// The bounds of how fast a recording is played.
const (
	slowest = 1.0 / 8
	fastest = 1024.0
)

// mostBehind is how far what is shown may be behind its time, by the clock of
// whoever looks: a recording that cannot be read as fast as it is to be played is
// played as fast as it can be read.
const mostBehind = 100 * time.Millisecond

// player says when a replay goes on, as its user wants it.
type player struct {
	clock   func() int64 // ns, CLOCK_MONOTONIC of now
	redraw  func()
	arrive  func() // called when it has come to where it is to be
	canSeek bool

	mu       sync.Mutex
	from, to int64 // ns, of the recording; to 0: not known
	until    int64 // ns: what comes then is not to be played; the end may be before
	at       int64 // ns: where it was
	since    int64 // ns: when it was there
	met      int64 // ns: the latest time since then whose turn it was
	speed    float64
	paused   bool
	caught   bool   // it has come to where it is to be
	ended    bool   // nothing is left
	wanted   *int64 // ns: where to go; nil: nowhere else
	wake     chan struct{}
}

func newPlayer(clock func() int64) *player {
	return &player{clock: clock, speed: 1, wake: make(chan struct{}, 1), redraw: func() {}, arrive: func() {}}
}

// begin begins a run of a recording.
func (p *player) begin(from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from, p.to, p.until = from, to, math.MaxInt64
	p.goTo(from)
}

// confine leaves only a part of the run to be played, in ns of the recording.
func (p *player) confine(from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from > p.from {
		p.from = from
		p.goTo(from)
	}
	p.until = to
	p.to = min(p.to, to) // 0 stays: over tells which of them it is
}

// inside is a time, or the last one that is to be played.
func (p *player) inside(at int64) int64 {
	if p.to != 0 {
		at = min(at, p.to)
	}
	return min(at, p.until)
}

// goTo puts the position somewhere.
func (p *player) goTo(at int64) {
	p.at, p.since, p.met = at, p.clock(), at
	p.caught, p.ended = false, false
}

// position is where the recording is to be now.
func (p *player) position() int64 {
	if p.paused || p.ended || !p.caught {
		return p.at
	}
	return p.at + int64(float64(p.clock()-p.since)*p.speed)
}

// hold stops the clock at the position, so that what it goes by can be changed.
func (p *player) hold() { p.at, p.since = p.position(), p.clock() }

// tape is what the screen shows of it.
func (p *player) tape() top.Tape {
	p.mu.Lock()
	defer p.mu.Unlock()
	return top.Tape{From: p.from, To: p.to, At: p.inside(p.position()), Speed: p.speed, Paused: p.paused, Ended: p.ended, CanSeek: p.canSeek}
}

// arrived says that what was asked for is there, and can be shown.
func (p *player) arrived() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.caught || p.ended
}

// obey does what the user wants.
func (p *player) obey(c top.Command) {
	p.mu.Lock()
	p.hold()
	switch {
	case c.Pause:
		p.paused = !p.paused
	case c.Faster:
		p.speed = min(p.speed*2, fastest)
	case c.Slower:
		p.speed = max(p.speed/2, slowest)
	case c.Begin:
		p.seek(p.from)
	case c.Seek != 0:
		p.seek(p.full(c.Seek))
	}
	p.mu.Unlock()
	p.nudge()
}

// full is a place at a distance from where it is, or is about to be: on the full
// multiples of it from the beginning, so that going back and forth leads to the
// same places.
func (p *player) full(by time.Duration) int64 {
	at, step := p.at-p.from, max(int64(by), -int64(by))
	if p.wanted != nil {
		at = *p.wanted - p.from
	}
	if by < 0 {
		return p.from + max((at-1)/step, 0)*step
	}
	return p.from + (at/step+1)*step
}

func (p *player) seek(to int64) {
	if p.canSeek {
		to = p.inside(to)
		p.wanted = &to
	}
}

func (p *player) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// reach waits until it is the turn of what happened at a time. It returns true
// when something else is wanted instead, or ctx has ended.
func (p *player) reach(ctx context.Context, at int64) (elsewhere bool) {
	for ctx.Err() == nil {
		p.mu.Lock()
		if p.wanted != nil {
			p.mu.Unlock()
			return true
		}
		ahead := min(at, p.until) - p.position()
		if ahead <= 0 {
			p.met = max(p.met, at)
			p.keepUp()
			p.mu.Unlock()
			return false
		}
		if !p.caught {
			p.mu.Unlock()
			p.arrive()
			p.mu.Lock()
			p.caught, p.since = true, p.clock()
		}
		wait := time.Second
		if !p.paused {
			wait = min(wait, time.Duration(float64(ahead)/p.speed)+time.Microsecond)
		}
		p.mu.Unlock()
		p.redraw()
		p.sleep(ctx, wait)
	}
	return true
}

// keepUp has the clock wait for what is shown, when that is late.
func (p *player) keepUp() {
	late := float64(p.position()-p.met) / p.speed // in ns of whoever looks
	if p.caught && !p.paused && late > float64(mostBehind) {
		p.at, p.since = p.met, p.clock()
	}
}

// elsewhere says that something else is wanted than what comes next, or ctx has
// ended.
func (p *player) elsewhere(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted != nil || ctx.Err() != nil
}

// over waits at the end of the recording, which is at a time if it was not known
// before. It returns false when ctx has ended.
func (p *player) over(ctx context.Context, end int64) (elsewhere bool) {
	p.arrive()
	p.mu.Lock()
	if p.to == 0 {
		p.to = max(end, p.from)
	}
	p.at, p.ended = p.to, true
	p.mu.Unlock()
	for ctx.Err() == nil {
		p.mu.Lock()
		wanted := p.wanted != nil
		p.mu.Unlock()
		if wanted {
			return true
		}
		p.redraw()
		p.sleep(ctx, time.Second)
	}
	return false
}

// take is where to go, once.
func (p *player) take() (to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to = *p.wanted
	p.wanted = nil
	p.goTo(to)
	return to
}

func (p *player) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-p.wake:
	case <-timer.C:
	}
}

// endOf finds out when the first run of a recording ends, in ns of
// CLOCK_MONOTONIC; 0: it cannot be told.
func (a *app) endOf(path string) (end int64) {
	r, closer, err := a.openRecording(path)
	if err != nil {
		return 0
	}
	defer closer.Close()
	if r.Header() == nil || r.SeekTime(1<<62) != nil {
		return 0
	}
	for r.Next() {
		rec := r.Record()
		if rec.Kind == recording.KindHeader {
			break
		}
		if at, told := rec.Time(); told {
			end = max(end, at)
		}
	}
	return end
}
