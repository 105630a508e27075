package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/demo"
	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/ui"
)

const demoHelp = `Plays on loopback, in about 8 seconds, the incident that acceptwatch is about: a
server whose only thread sits in a slow request, clients that queue up and give
up, and a tracer that is started when it has already begun. It ends with the
summary of the trace and with what it means.

What was traced is compared with what was made, connection by connection: the
demo exits with 1 if they differ, or if it is ended before they are compared. It
touches no other listener.`

// demoServer is the hidden subcommand that is the server.
const demoServer = "server"

func newDemoCommand(a *app) *cobra.Command {
	return demoCommand(a, []string{"/proc/self/exe", "demo", demoServer}, 0)
}

// demoCommand takes the server's command line and the length of a beat, which
// tests choose.
func demoCommand(a *app, server []string, beat time.Duration) *cobra.Command {
	var output, mode string
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Play the incident that this is about, and trace it",
		Long:    demoHelp,
		Example: "  sudo acceptwatch demo",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := parseOutput(output)
			if err != nil {
				return err
			}
			forced, err := parseMode(mode)
			if err != nil {
				return err
			}
			return a.demo(cmd.Context(), demo.Options{Server: server, Beat: beat}, forced, asJSON)
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "auto", "how to watch the kernel: `mode` auto, fentry, kprobe or restricted")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output `format`: text or json (JSON Lines)")
	cmd.Flags().SortFlags = false
	cmd.AddCommand(&cobra.Command{
		Use: demoServer, Hidden: true, Args: noArgs, Short: "The demo's server, started by the demo",
		RunE: func(*cobra.Command, []string) error { return demo.Serve(os.Stdin, os.Stdout) },
	})
	return cmd
}

func (a *app) demo(ctx context.Context, o demo.Options, mode string, asJSON bool) error {
	outcome, err := a.playDemo(ctx, o, mode, asJSON)
	switch {
	case err != nil && ctx.Err() != nil: // exit code 0 would pass for a proof
		return errors.New("the demo was ended early: nothing was compared")
	case err != nil:
		return err
	}
	if err := writeOutcome(a.Out, outcome, asJSON); err != nil {
		return fmt.Errorf("write the demo's end: %w", err)
	}
	if !outcome.Agrees() {
		return errors.New("the trace differs from what the demo made: " + strings.Join(outcome.Differs, "; "))
	}
	return nil
}

func (a *app) playDemo(ctx context.Context, o demo.Options, mode string, asJSON bool) (*demo.Outcome, error) {
	// What cannot be traced is not worth the wait.
	src, err := a.openSource(ctx, sourceOptions{Mode: mode})
	if err != nil {
		return nil, err
	}
	if err := src.Close(); err != nil {
		return nil, err
	}

	traced := *a
	traced.Out = oneAtATime(a.Out)
	traced.env.fence = nil // the server is not to be left behind
	narrator := traced.Out
	if asJSON {
		narrator = a.Err
	}
	o.Say = func(format string, args ...any) {
		fmt.Fprintf(narrator, "demo: "+format+"\n", args...)
	}
	o.Trace = func(ctx context.Context, port uint16, watch *demo.Watch) error {
		own := traced
		own.openSource = watched(a.openSource, watch)
		return own.trace(ctx, &traceOptions{
			mode: mode, json: asJSON, stallAfter: time.Second,
			filter: filter.Filter{Ports: []filter.PortRange{{First: port, Last: port}}},
		})
	}
	return demo.Run(ctx, o)
}

func writeOutcome(w io.Writer, o *demo.Outcome, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Type string `json:"type"`
			*demo.Outcome
		}{"demo", o})
	}
	width := doctorWidth(ui.Width(w))
	var text strings.Builder
	for _, paragraph := range o.Paragraphs() {
		text.WriteString("\n")
		for line := range strings.Lines(paragraph) {
			text.WriteString(folded(line, width))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// folded breaks a line at spaces; it ends with a newline.
func folded(line string, width int) string {
	var out strings.Builder
	column := 0
	for i, word := range strings.Fields(line) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			out.WriteString("\n")
			column = 0
		default:
			out.WriteString(" ")
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String() + "\n"
}

// oneAtATime lets the trace and the narrator write to w: an *os.File can take
// that, and stays what it is, so that it is still a terminal.
func oneAtATime(w io.Writer) io.Writer {
	if _, ok := w.(*os.File); ok {
		return w
	}
	return &lockedWriter{w: w}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// watched opens sources that tell the demo what they see.
func watched(open openSource, watch *demo.Watch) openSource {
	return func(ctx context.Context, o sourceOptions) (source, error) {
		src, err := open(ctx, o)
		if err != nil {
			return nil, err
		}
		return &watchedSource{source: src, watch: watch}, nil
	}
}

// watchedSource is a source that somebody else looks at too.
type watchedSource struct {
	source
	watch *demo.Watch
}

// Read counts as attached once it has returned: what was queued before has
// then been seen.
func (s *watchedSource) Read(fn func(*event.Event)) error {
	err := s.source.Read(func(e *event.Event) {
		s.watch.Event(e)
		fn(e)
	})
	if err == nil {
		s.watch.Attached(s.Mode())
	}
	return err
}

func (s *watchedSource) Why() string {
	if e, ok := s.source.(explainer); ok {
		return e.Why()
	}
	return ""
}
