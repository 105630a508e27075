package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"acceptwatch/internal/quantity"
	"acceptwatch/internal/sockdiag"
)

// Options says how to run the demo.
type Options struct {
	// Server is the command line of a process that calls Serve.
	Server []string
	Trace  Tracer
	// Say tells what is being done now, a sentence without a full stop.
	Say func(format string, args ...any)
	// Beat is the unit of time of the script; 0: 350 ms, about 8 s in all.
	Beat time.Duration
}

// What is made. The early and the late ones fill the queue exactly.
const (
	servedClients  = 8
	refusedClients = 2
)

func earlyFates() []Fate { return []Fate{Stays, FIN, Stays, RST, FIN, Stays} }

func lateFates() []Fate {
	return []Fate{FIN, Stays, RST, FIN, Stays, FIN, Stays, RST, FIN, Stays, RST}
}

// patience is how long the demo waits for something that takes milliseconds.
const patience = 10 * time.Second

// attachPatience is how long it waits for the tracer, whose programs the
// kernel verifies first: a moment, but not on a busy or emulated host.
const attachPatience = time.Minute

// Run plays the incident. It returns when everything that it started has
// ended. An error means that the incident could not be made or traced; that
// the tracer saw something else than what was made is in the Outcome.
func Run(ctx context.Context, o Options) (*Outcome, error) {
	if o.Beat == 0 {
		o.Beat = 350 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := startServer(ctx, o.Server)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	s := &script{Options: o, server: server, watch: newWatch(), outcome: Outcome{Port: server.addr.Port()}}
	defer s.hangUp()
	if err := s.play(ctx); err != nil {
		return nil, err
	}
	return &s.outcome, nil
}

// script is a running demo.
type script struct {
	Options
	server  *process
	watch   *Watch
	slow    *client
	queued  []*client
	outcome Outcome
}

func (s *script) play(ctx context.Context) error {
	s.Say("a server listens on %v: one thread, backlog %d", s.server.addr, backlog)
	if err := s.serveSome(ctx); err != nil {
		return err
	}
	s.Say("one request is slow, and the server's only thread sits in it: it stops accepting")
	blocked, err := s.block(ctx)
	if err != nil {
		return err
	}
	s.Say("%d more clients connect, and some of them give up", len(earlyFates()))
	if err := s.arrive(ctx, earlyFates(), true); err != nil {
		return err
	}
	s.Say("only now the tracer is started: %s", s.situation())
	stopTrace, err := s.startTrace(ctx)
	if err != nil {
		return err
	}
	defer stopTrace()
	s.Say("%d more clients connect, and some of them give up while you watch", len(lateFates()))
	if err := s.arrive(ctx, lateFates(), false); err != nil {
		return err
	}
	s.Say("the queue is full: %d more clients get no answer", refusedClients)
	if err := s.refuse(ctx); err != nil {
		return err
	}
	s.look(ctx)
	s.Say("the slow request ends, and the server accepts again: %s", s.situation())
	released := time.Now()
	s.outcome.Blocked = released.Sub(blocked)
	if err := s.drain(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx, released); err != nil {
		return err
	}
	if err := stopTrace(); err != nil {
		return err
	}
	s.conclude(released)
	return nil
}

func (s *script) pause(ctx context.Context, beats float64) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(beats * float64(s.Beat))):
		return nil
	}
}

// serveSome shows the server well.
func (s *script) serveSome(ctx context.Context) error {
	for range servedClients {
		c, err := connect(ctx, s.server.addr, ordinaryRequest, Stays)
		if err != nil {
			return err
		}
		if err := c.await(ctx, patience); err != nil {
			return err
		}
		if _, err := s.nextAccepted(ctx); err != nil {
			return err
		}
		if err := s.pause(ctx, 0.5); err != nil {
			return err
		}
	}
	return nil
}

// block sends the slow request and returns when the server is in it.
func (s *script) block(ctx context.Context) (since time.Time, err error) {
	if s.slow, err = connect(ctx, s.server.addr, slowRequest, Stays); err != nil {
		return time.Time{}, err
	}
	line, err := s.nextAccepted(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return line.at, nil
}

// arrive makes one client after the other connect; each gives up a moment
// later if that is its fate.
func (s *script) arrive(ctx context.Context, fates []Fate, beforeAttach bool) error {
	for _, fate := range fates {
		dialCtx, cancel := context.WithTimeout(ctx, patience)
		c, err := connect(dialCtx, s.server.addr, ordinaryRequest, fate)
		cancel()
		if err != nil {
			return err
		}
		c.BeforeAttach = beforeAttach
		s.queued = append(s.queued, c)
		if err := s.pause(ctx, 0.3); err != nil {
			return err
		}
		if err := c.giveUp(); err != nil {
			return err
		}
	}
	return s.pause(ctx, 1)
}

// refuse makes clients that find the queue full. They give up before their
// SYN is sent again, which takes 1 s.
func (s *script) refuse(ctx context.Context) error {
	for range refusedClients {
		short, cancel := context.WithTimeout(ctx, min(s.Beat, 400*time.Millisecond))
		c, err := connect(short, s.server.addr, ordinaryRequest, Stays)
		cancel()
		switch {
		case err == nil:
			// Never seen; if a kernel has room for it, it is one more in
			// the queue.
			s.queued = append(s.queued, c)
		case ctx.Err() != nil:
			return ctx.Err()
		case short.Err() != nil:
			s.outcome.Refused++
		default:
			return err
		}
	}
	return nil
}

// look lists the sockets as ss does. Without sock_diag there is nothing to say.
func (s *script) look(ctx context.Context) {
	port := sockdiag.PortRange{Low: s.outcome.Port, High: s.outcome.Port}
	sockets, err := sockdiag.Snapshot(ctx, sockdiag.Query{Families: sockdiag.IPv4, Ports: []sockdiag.PortRange{port}})
	if err != nil {
		return
	}
	seen := new(Look)
	for i := range sockets {
		socket := &sockets[i]
		if depth, ok := socket.Depth(); ok {
			seen.Depth = depth
			seen.Backlog, _ = socket.Backlog()
			continue
		}
		switch {
		case !socket.Unaccepted():
		case socket.State == sockdiag.CloseWait:
			seen.CloseWait++
		default:
			seen.Established++
		}
	}
	s.outcome.Look = seen
}

// drain lets the server accept all that is queued.
func (s *script) drain(ctx context.Context) error {
	if err := s.server.release(); err != nil {
		return err
	}
	byPort := make(map[uint16]*client)
	for _, c := range s.queued {
		byPort[c.Port] = c
	}
	for len(byPort) > 0 {
		line, err := s.nextAccepted(ctx)
		if err != nil {
			return fmt.Errorf("%s still queued: %w", quantity.Of(len(byPort), "[connection is|connections are]"), err)
		}
		if c := byPort[line.peerPort]; c != nil {
			c.Accepted, c.Found = line.at, line.peer
			delete(byPort, line.peerPort)
		}
	}
	for _, c := range append(s.queued, s.slow) {
		if c.Fate != Stays {
			continue
		}
		if err := c.await(ctx, patience); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) conclude(released time.Time) {
	out := &s.outcome
	for _, c := range s.queued {
		out.Queued++
		switch c.Fate {
		case FIN:
			out.FINs++
		case RST:
			out.RSTs++
		}
		if c.BeforeAttach {
			out.Early++
		}
		if c.Found != peerAlive {
			out.Found++
		}
	}
	mode, events := s.watch.seen()
	out.Mode = mode
	out.Reported, out.Differs = compare(mode, out.Port, s.made(), released, events)
}

// situation words what is in the queue now.
func (s *script) situation() string {
	dead := 0
	for _, c := range s.queued {
		if c.Fate != Stays {
			dead++
		}
	}
	return fmt.Sprintf("%d wait in the queue, %d of them dead", len(s.queued), dead)
}

func (s *script) made() []Client {
	made := make([]Client, len(s.queued))
	for i, c := range s.queued {
		made[i] = c.Client
	}
	return made
}

func (s *script) nextAccepted(ctx context.Context) (accepted, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case line, ok := <-s.server.accepted:
		if !ok {
			return accepted{}, errors.New("the demo's server ended")
		}
		return line, nil
	case <-timeout.C:
		return accepted{}, fmt.Errorf("the demo's server accepted nothing for %v", patience)
	case <-ctx.Done():
		return accepted{}, ctx.Err()
	}
}

// hangUp closes what is still open. Closing twice does no harm.
func (s *script) hangUp() {
	for _, c := range append(s.queued, s.slow) {
		if c != nil {
			c.conn.Close()
		}
	}
}
