package cli

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"acceptwatch/internal/fence"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/metrics"
	"acceptwatch/internal/ui"
)

const (
	// betweenScrapes is how often the source is read when nobody asks: listeners
	// that closed are to be taken out of the kernel, and a walk repairs.
	betweenScrapes = time.Second
	// betweenWalks is the same in mode restricted, whose source walks at each
	// read, in its own time.
	betweenWalks = 40 * time.Millisecond
	// shareFor is how long what was read serves further scrapes, in ns.
	shareFor = int64(time.Second)
	// scrapeTimeout is after how long a scrape fails: Prometheus waits 10 s.
	scrapeTimeout = 9 * time.Second
	// renewOwners is after how long it is looked up again who holds listeners that
	// are known, in ns.
	renewOwners = int64(time.Minute)
)

var (
	errNotAttached = errors.New("acceptwatch is not attached to the kernel yet: try again in a moment")
	errEnding      = errors.New("acceptwatch is ending")
	errBusy        = errors.New("the accept queues were not read in time: the machine is overloaded")
)

// scrapes reads the source when somebody asks, in the one goroutine that may.
type scrapes struct {
	app   *app
	opt   *serveOptions
	book  *metrics.Book
	live  *live
	kinds []string // of losses
	asks  chan chan scraped

	attached atomic.Bool
	healthy  atomic.Bool   // the last look worked
	done     chan struct{} // closed when run has returned

	last    scraped
	at      int64 // ns: last was read
	renewed int64 // ns: it was looked up who holds all listeners
}

// scraped is the outcome of a scrape.
type scraped struct {
	all []prometheus.Metric
	err error
}

func newScrapes(a *app, o *serveOptions) *scrapes {
	return &scrapes{app: a, opt: o, book: metrics.NewBook(o.metrics), asks: make(chan chan scraped), done: make(chan struct{})}
}

// latest are the metrics of now, or of a second ago. It may be called by any
// goroutine.
func (s *scrapes) latest() ([]prometheus.Metric, error) {
	if !s.attached.Load() {
		return nil, errNotAttached
	}
	timeout := time.NewTimer(scrapeTimeout)
	defer timeout.Stop()
	reply := make(chan scraped, 1)
	select {
	case s.asks <- reply:
	case <-s.done:
		return nil, errEnding
	case <-timeout.C:
		return nil, errBusy
	}
	select {
	case got := <-reply:
		return got.all, got.err
	case <-s.done:
		return nil, errEnding
	case <-timeout.C:
		return nil, errBusy
	}
}

// ready says that it is attached, and looking works.
func (s *scrapes) ready() bool { return s.attached.Load() && s.healthy.Load() }

// run reads src until ctx ends.
func (s *scrapes) run(ctx context.Context, src source) error {
	defer close(s.done)
	a := s.app
	s.live = newLive(a, src, &s.opt.trace, silent{}, newWallClock(&a.env))
	s.live.sampleEvery = int64(betweenScrapes)
	s.live.table.Report(selectedMoves{s.book, s.live.hosts})
	s.kinds = s.live.table.LossKinds()
	if l, ok := src.(losing); ok {
		s.kinds = append(s.kinds, l.LossKinds()...)
	}
	if err := s.live.begin(ctx); err != nil {
		return err
	}
	a.giveUp(fence.Later{})
	a.log.Info().Str("mode", src.Mode()).Str("filter", s.opt.trace.filter.String()).Strs("limits", src.Limits()).Msg("watching")
	pace := betweenScrapes
	if src.Mode() == restricted {
		pace = betweenWalks
	}
	s.healthy.Store(true)
	s.attached.Store(true)
	defer s.attached.Store(false)
	next := time.NewTicker(pace)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case reply := <-s.asks:
			reply <- s.take()
		case <-next.C:
			now := a.env.monotonic()
			s.looked(s.live.step(ctx, now))
			s.renew(now)
		}
	}
}

// selectedMoves tells a book of the moves of what it is given: failed accepts that
// the filter hides were not counted anywhere before.
type selectedMoves struct {
	*metrics.Book
	hosts *gatherer
}

func (m selectedMoves) Tied(calls listener.AcceptFailures, into listener.RowName) {
	if len(m.hosts.unplaced([]listener.AcceptFailures{calls})) > 0 {
		m.Book.Tied(calls, into)
	}
}

// looked notes whether looking works. When it does not, scrapes fail, and it is
// tried again.
func (s *scrapes) looked(err error) {
	s.healthy.Store(err == nil)
	if err != nil {
		s.live.warn("read the accept queues", err)
	}
}

// take makes metrics, or gives those of a moment ago.
func (s *scrapes) take() scraped {
	now := s.app.env.monotonic()
	if s.last.all != nil && s.last.err == nil && now-s.at < shareFor {
		return s.last
	}
	l := s.live
	err := l.look(true)
	s.looked(err)
	s.at, s.last = now, scraped{err: err}
	if err != nil {
		return s.last
	}
	rows := l.hosts.rowsOf(l.rows())
	if s.needsOwners() {
		l.hosts.meet(rows)
	}
	if l.opt.filter.ByHolder() {
		rows = slices.DeleteFunc(rows, func(r listener.Row) bool { return !l.hosts.concerns(&r, l.hosts.ownersOf(&r)) })
	}
	seen := &metrics.Look{
		Time: s.app.env.monotonic(), Mode: l.src.Mode(), Rows: rows,
		Failures: l.hosts.unplaced(l.table.AcceptErrors()), Losses: l.table.Losses(), LossKinds: s.kinds,
	}
	if metrics.OfOwners(s.opt.metrics.Labels) {
		seen.Owners = l.hosts.ownersOf
	}
	if c, ok := l.src.(costed); ok {
		seen.Programs = c.Programs()
	}
	s.last.all = s.book.Take(seen)
	return s.last
}

// needsOwners says that it matters who holds the listeners.
func (s *scrapes) needsOwners() bool {
	return metrics.OfOwners(s.opt.metrics.Labels) || s.live.opt.filter.ByHolder()
}

// renew looks up again, now and then and while no scrape waits for it, who holds
// the listeners: to look at all processes takes longer the more there are.
func (s *scrapes) renew(now int64) {
	if !s.needsOwners() || s.renewed != 0 && now-s.renewed < renewOwners {
		return
	}
	s.renewed = now
	hosts := s.live.hosts
	hosts.forget()
	hosts.meet(hosts.rowsOf(s.live.rows()))
}

// silent is the view of a run that nobody watches.
type silent struct{}

func (silent) begin(*ui.Header)           {}
func (silent) line(*ui.Line)              {}
func (silent) tick()                      {}
func (silent) end(*ui.Summary, time.Time) {}
func (silent) flush() error               { return nil }
