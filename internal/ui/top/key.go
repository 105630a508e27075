package top

import (
	"strings"
	"time"
)

// Command is what the Model cannot do itself.
type Command struct {
	Quit bool
	// Of a recording: to pause it or to go on, to play it faster or slower, to go
	// to its beginning, or somewhere from where it is.
	Pause          bool
	Faster, Slower bool
	Begin          bool
	Seek           time.Duration
}

// Key takes a key: what it writes, or "up", "down", "left", "right", "pgup",
// "pgdn", "home", "end", "enter", "esc", "backspace", "ctrl-c", "ctrl-u".
func (m *Model) Key(key string) Command {
	if key == "ctrl-c" {
		return Command{Quit: true}
	}
	if m.typing {
		m.typed(key)
		return Command{}
	}
	if c, ok := m.tapeKey(key); ok {
		return c
	}
	switch key {
	case "q":
		return Command{Quit: true}
	case " ", "p":
		m.pause()
		return Command{}
	case "?", "h", "f1":
		m.help()
		return Command{}
	}
	switch m.page {
	case tablePage:
		m.tableKey(key)
	case listenerPage, helpPage:
		m.pageKey(key)
	}
	return Command{}
}

// tapeKey takes the keys of a recording.
func (m *Model) tapeKey(key string) (c Command, taken bool) {
	if m.shown.about.Origin == "" {
		return c, false
	}
	switch key {
	case " ", "p":
		c.Pause = true
	case "+", "=":
		c.Faster = true
	case "-":
		c.Slower = true
	case "0":
		c.Begin = true
	case "left":
		c.Seek = -10 * time.Second
	case "right":
		c.Seek = 10 * time.Second
	case "[":
		c.Seek = -time.Minute
	case "]":
		c.Seek = time.Minute
	default:
		return c, false
	}
	return c, true
}

func (m *Model) tableKey(key string) {
	rows := m.rows()
	by := 0
	switch key {
	case "down", "j":
		by = 1
	case "up", "k":
		by = -1
	case "pgdn", "ctrl-f":
		by = rows
	case "pgup", "ctrl-b":
		by = -rows
	case "end", "G":
		by = len(m.list)
	case "home", "g":
		by = -len(m.list)
	case "s":
		m.sort = (m.sort + 1) % orders
		m.arrange()
	case "S":
		m.sort = (m.sort + orders - 1) % orders
		m.arrange()
	case "r":
		m.upward = !m.upward
		m.arrange()
	case "/":
		m.typing, m.before = true, m.filter
	case "esc":
		m.filter = ""
		m.arrange()
	case "enter":
		if len(m.list) > 0 {
			m.page, m.scroll, m.moved = listenerPage, 0, true
		}
	}
	if by != 0 {
		m.cursor += by
		m.settle()
		m.moved = m.cursor > 0
	}
}

// pageKey takes the keys of a page of text.
func (m *Model) pageKey(key string) {
	rows := max(m.height-2, 1)
	switch key {
	case "down", "j":
		m.scroll++
	case "up", "k":
		m.scroll--
	case "pgdn", "ctrl-f":
		m.scroll += rows
	case "pgup", "ctrl-b":
		m.scroll -= rows
	case "end", "G":
		m.scroll = m.scrolls
	case "home", "g":
		m.scroll = 0
	case "esc", "backspace", "enter":
		if m.page == helpPage {
			m.help()
			return
		}
		m.page = tablePage
		m.arrange()
	}
	m.scroll = min(max(m.scroll, 0), m.scrolls)
}

// help shows the help, or goes back to where it was asked for.
func (m *Model) help() {
	m.scroll = 0
	if m.page == helpPage {
		m.page, m.back = m.back, tablePage
		return
	}
	m.back, m.page = m.page, helpPage
}

// typed takes a key of the filter, which works while it is typed.
func (m *Model) typed(key string) {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, m.before
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	case "ctrl-u":
		m.filter = ""
	default:
		if r := []rune(key); len(r) == 1 && r[0] >= ' ' {
			m.filter += strings.ToLower(key)
		}
	}
	m.moved = false
	m.arrange()
}
