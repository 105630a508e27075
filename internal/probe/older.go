package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"acceptwatch/internal/preflight"
)

// The cheapest carriers are functions that a compiler may inline where it matters,
// and that a kernel may refuse programs on. What they see passes an older, dearer
// one as well, so nothing is lost when that takes their place.

// refusedError says that no program could be put on a function that an older
// carrier can stand in for.
type refusedError struct {
	symbol string
	err    error
}

func (e *refusedError) Error() string { return fmt.Sprintf("attach to %s: %v", e.symbol, e.err) }

func (e *refusedError) Unwrap() error { return e.err }

// openBest attaches to the cheapest carriers, and opens again with older ones in
// the place of those that the kernel refuses or never calls. Where that fails, what
// was opened first stays, and says what it misses.
func openBest(f *preflight.Features, o *Options) (*Tracer, error) {
	t, err := openWith(f, o)
	var dead []string
	var why string
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		dead, why = []string{refused.symbol}, "this kernel takes no program at"
	case err == nil:
		dead, why = t.plan.dead(&t.canary), "this kernel does not call"
	}
	if len(dead) == 0 {
		return t, err
	}
	older, again := openBest(f.Without(dead...), o)
	if again != nil {
		return t, err
	}
	older.plan.Why += fmt.Sprintf("; %s %s, so older hooks see the same", why, strings.Join(dead, " and "))
	if t != nil {
		if err := t.Close(); err != nil {
			return nil, errors.Join(err, older.Close())
		}
	}
	return older, nil
}

// dead lists the functions that ought to have seen the canary's connections, did
// not, and have an older carrier.
func (p *Plan) dead(c *Canary) []string {
	var symbols []string
	for _, silent := range c.Silent() {
		if slices.ContainsFunc(p.hooks, func(h hook) bool { return h.replaceable && h.symbol == silent.Name }) {
			symbols = append(symbols, silent.Name)
		}
	}
	return symbols
}
