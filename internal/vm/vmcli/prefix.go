package vmcli

import (
	"bytes"
	"io"
	"sync"
)

// prefixer lets several kernels share one output, line by line.
type prefixer struct {
	mu sync.Mutex
	w  io.Writer
}

func newPrefixer(w io.Writer) *prefixer { return &prefixer{w: w} }

// stream is one kernel's share. With an empty prefix bytes pass unchanged and at
// once.
func (p *prefixer) stream(prefix string) *prefixed { return &prefixed{shared: p, prefix: prefix} }

type prefixed struct {
	shared  *prefixer
	prefix  string
	partial []byte
}

// Write writes whole lines and keeps the rest.
func (p *prefixed) Write(b []byte) (int, error) {
	p.shared.mu.Lock()
	defer p.shared.mu.Unlock()
	if p.prefix == "" {
		return p.shared.w.Write(b)
	}
	p.partial = append(p.partial, b...)
	for {
		i := bytes.IndexByte(p.partial, '\n')
		if i < 0 {
			return len(b), nil
		}
		if _, err := io.WriteString(p.shared.w, p.prefix+string(p.partial[:i+1])); err != nil {
			return 0, err
		}
		p.partial = p.partial[i+1:]
	}
}

// finish writes a last line without its end.
func (p *prefixed) finish() {
	if len(p.partial) > 0 {
		_, _ = p.Write([]byte("\n")) // nobody is left to tell
	}
}
