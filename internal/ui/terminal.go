package ui

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal says whether w is one.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// UseColor says whether to colour what is written to w: on a terminal, unless
// NO_COLOR is set to anything or TERM is "dumb".
func UseColor(w io.Writer, getenv func(string) string) bool {
	return IsTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// Width is the number of columns of the terminal that w is; 0: not a terminal,
// or not known.
func Width(w io.Writer) int {
	width, _ := size(w)
	return width
}

// Height is the number of its rows; 0: not a terminal, or not known.
func Height(w io.Writer) int {
	_, height := size(w)
	return height
}

func size(w io.Writer) (width, height int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}
