package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"acceptwatch/internal/preflight"
)

// startTrace returns when the tracer is attached. stop ends it and returns its
// error; further calls do nothing.
func (s *script) startTrace(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Trace(ctx, s.outcome.Port, s.watch) }()
	stop = func() error {
		if cancel == nil {
			return nil
		}
		cancel()
		cancel = nil
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("trace: %w", err)
		}
		return nil
	}
	timeout := time.NewTimer(attachPatience)
	defer timeout.Stop()
	select {
	case <-s.watch.attached:
		return stop, nil
	case err := <-ended:
		cancel()
		if err == nil {
			err = errors.New("trace: it ended before it was attached")
		}
		return nil, err
	case <-timeout.C:
		return nil, errors.Join(fmt.Errorf("trace: not attached after %v", attachPatience), stop())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), stop())
	}
}

// settle gives the tracer time to notice, until it agrees with what was made
// or the time is up.
func (s *script) settle(ctx context.Context, released time.Time) error {
	for range 12 {
		if err := s.pause(ctx, 0.5); err != nil {
			return err
		}
		if mode, events := s.watch.seen(); mode != preflight.ModeRestricted {
			if _, differs := compare(mode, s.outcome.Port, s.made(), released, events); len(differs) == 0 {
				break
			}
		}
	}
	return s.pause(ctx, 0.5)
}
