package cli

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/color"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/ui/top"
)

// drawEvery bounds how often the screen is drawn, which over a slow line is
// what costs.
const drawEvery = 50 * time.Millisecond

// topScreen draws a topView on the terminal, and gives it the keys.
type topScreen struct {
	tcell.Screen
	view   *topView
	styles map[top.Style]tcell.Style
	failed error // why there is no screen any more
}

// openTopScreen takes the terminal over.
func openTopScreen(view *topView, colour bool) (*topScreen, error) {
	const remedy = "use a terminal that can be addressed, or `acceptwatch trace`"
	terminal, err := openTopTerminal()
	if err != nil {
		return nil, unavailable(err, remedy)
	}
	screen, err := tcell.NewTerminfoScreenFromTty(terminal, tcell.OptNegotiation(false)) // terminals that do not answer would delay it
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		_ = terminal.Close() // nothing was written
		return nil, unavailable(err, remedy)
	}
	s := &topScreen{Screen: screen, view: view, styles: topStyles(colour)}
	s.resize()
	return s, nil
}

// topStyles are attributes by meaning, with colours or without.
func topStyles(colour bool) map[top.Style]tcell.Style {
	plain := tcell.StyleDefault
	styles := map[top.Style]tcell.Style{
		top.Plain: plain, top.Faint: plain.Dim(true), top.Strong: plain.Bold(true),
		top.Problem: plain.Bold(true), top.Slow: plain, top.Alarm: plain.Bold(true).Reverse(true), top.Relief: plain,
		top.Bar: plain, top.Full: plain, top.Gap: plain.Dim(true),
	}
	if colour {
		for style, of := range map[top.Style]color.Color{
			top.Problem: color.Red, top.Alarm: color.Red, top.Slow: color.Olive, top.Relief: color.Green, top.Bar: color.Teal, top.Full: color.Red,
		} {
			styles[style] = styles[style].Foreground(of)
		}
	}
	return styles
}

// guard runs a function. When it panics the terminal is given back first, or
// nobody could read why.
func (s *topScreen) guard(run func()) {
	defer func() {
		if failure := recover(); failure != nil {
			s.Fini()
			panic(failure)
		}
	}()
	run()
}

// run draws and takes keys until ctx ends. quit is called when the user wants to,
// or there is no screen any more.
func (s *topScreen) run(ctx context.Context, quit func()) {
	s.draw()
	var last time.Time
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.view.changed:
			if due == nil {
				due = time.After(drawEvery - min(time.Since(last), drawEvery))
			}
			continue
		case <-due:
		case e, open := <-s.EventQ():
			if !open {
				quit()
				return
			}
			switch e := e.(type) {
			case *tcell.EventResize:
				s.resize()
				s.Sync()
			case *tcell.EventKey:
				s.key(e, quit)
			}
		}
		due, last = nil, time.Now()
		s.draw()
	}
}

func (s *topScreen) resize() {
	width, height := s.Size()
	s.view.with(func(m *top.Model) { m.Resize(width, height) })
}

func (s *topScreen) key(e *tcell.EventKey, quit func()) {
	switch e.Key() {
	case tcell.KeyCtrlZ:
		if s.failed = s.suspend(); s.failed != nil {
			quit()
		}
		return
	case tcell.KeyCtrlL:
		s.Sync()
		return
	}
	name := keyName(e)
	if name == "" {
		return
	}
	var command top.Command
	s.view.with(func(m *top.Model) { command = m.Key(name) })
	if command.Quit {
		quit()
		return
	}
	s.view.obey(command)
}

// suspend gives the terminal back until the user comes back.
func (s *topScreen) suspend() error {
	if err := s.Suspend(); err != nil {
		return fmt.Errorf("give the terminal back: %w", err)
	}
	// To this thread, which does not go on before it has stopped.
	runtime.LockOSThread()
	err := unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
	runtime.UnlockOSThread()
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := s.Resume(); err != nil {
		return fmt.Errorf("take the terminal over again: %w; start top again", err)
	}
	return nil
}

// keyName is a key as a Model takes it; empty: it has no use for it.
func keyName(e *tcell.EventKey) string {
	if e.Key() == tcell.KeyRune {
		return e.Str()
	}
	return map[tcell.Key]string{
		tcell.KeyUp: "up", tcell.KeyDown: "down", tcell.KeyLeft: "left", tcell.KeyRight: "right",
		tcell.KeyPgUp: "pgup", tcell.KeyPgDn: "pgdn", tcell.KeyHome: "home", tcell.KeyEnd: "end",
		tcell.KeyEnter: "enter", tcell.KeyEsc: "esc", tcell.KeyBackspace: "backspace", tcell.KeyF1: "f1",
		tcell.KeyCtrlC: "ctrl-c", tcell.KeyCtrlU: "ctrl-u", tcell.KeyCtrlF: "ctrl-f", tcell.KeyCtrlB: "ctrl-b",
	}[e.Key()]
}

// selected is a style under the cursor: colours of little meaning would only make
// it harder to read, and a bar turned inside out is none.
func (s *topScreen) selected(of top.Style) tcell.Style {
	switch of {
	case top.Bar, top.Full, top.Gap:
		return s.styles[of]
	case top.Problem:
		return s.styles[of].Reverse(true)
	}
	return s.styles[top.Plain].Reverse(true)
}

func (s *topScreen) draw() {
	var f top.Frame
	s.view.with(func(m *top.Model) { f = m.Frame() })
	s.Clear()
	width, _ := s.Size()
	for y := range f {
		x := 0
		for _, span := range f[y].Spans {
			style := s.styles[span.Style]
			if f[y].Selected {
				style = s.selected(span.Style)
			}
			for rest, taken := span.Text, 1; rest != "" && taken > 0; x += taken {
				rest, taken = s.Put(x, y, rest, style)
			}
		}
		for ; f[y].Selected && x < width; x++ {
			s.Put(x, y, " ", tcell.StyleDefault.Reverse(true))
		}
	}
	s.Show()
}
