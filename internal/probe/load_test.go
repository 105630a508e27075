package probe

import (
	"os"
	"testing"

	"acceptwatch/internal/preflight"
)

// A kernel that refuses one optional program must not cost the others: each can
// be loaded by itself.
func TestOptionalProgramsLoadOneByOne(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		p := must(MakePlan(preflight.Detect(), m))(t)
		limits := len(p.Limits)
		p.single = true
		l := must(load(p, &Options{}, chooseSizes(&Options{}, 0, os.Getpagesize())))(t)
		defer l.Close()
		links := must(attach(p, l, nil))(t)
		defer func() { check(t, detach(links)) }()
		attached := map[string]bool{}
		for _, a := range links {
			attached[a.program] = true
		}
		for _, h := range p.hooks {
			if !attached[h.program] && len(h.others) == 0 && !h.forMPTCP {
				t.Errorf("%s is not attached: %q", h.program, p.Limits[limits:])
			}
		}
		if len(p.Limits) > limits {
			t.Errorf("limits %q", p.Limits[limits:])
		}
	}, Fentry, Kprobe, Restricted)
}
