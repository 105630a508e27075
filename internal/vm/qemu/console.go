package qemu

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// consoleLines is how many lines a Console keeps.
const consoleLines = 200

// maxLine is how much is kept of one line, in bytes.
const maxLine = 4096

// Console keeps the last lines that a machine printed.
type Console struct {
	mu      sync.Mutex
	lines   []string // a ring once it is full
	next    int
	partial []byte
	echo    io.Writer
	last    time.Time // of the last Write, or of the start
}

// Silence is how long nothing has been printed.
func (c *Console) Silence(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.last)
}

// Write takes what the machine prints. It never fails.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if c.echo != nil {
		if _, err := c.echo.Write(p); err != nil {
			c.echo = nil
		}
	}
	for rest := p; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte("\n"))
		if room := maxLine - len(c.partial); room > 0 {
			c.partial = append(c.partial, line[:min(len(line), room)]...)
		}
		if !complete {
			break
		}
		c.push(string(bytes.TrimRight(c.partial, "\r")))
		c.partial = c.partial[:0]
		rest = after
	}
	return len(p), nil
}

func (c *Console) push(line string) {
	if len(c.lines) < consoleLines {
		c.lines = append(c.lines, line)
		return
	}
	c.lines[c.next] = line
	c.next = (c.next + 1) % consoleLines
}

// String returns the last lines.
func (c *Console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for i := range c.lines {
		b.WriteString(c.lines[(c.next+i)%len(c.lines)])
		b.WriteByte('\n')
	}
	if len(c.partial) > 0 {
		b.Write(c.partial)
		b.WriteByte('\n')
	}
	return b.String()
}
