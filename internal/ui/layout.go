package ui

import (
	"strings"
	"unicode/utf8"
)

// layout is the width of each column. What is longer pushes the rest of its
// line to the right, so that nothing is cut that somebody may want to copy;
// only the last column is cut, at the edge of a terminal.
type layout struct {
	digits   int // of the time column, after the seconds
	time     int
	listener int
	peer     int
	event    int
	wait     int
	depth    int
	unread   int // 0: no such column
	edge     int // columns of the terminal; 0: none, nothing is cut or wrapped
	thread   bool
}

// layoutFor chooses by the width of the terminal, in columns; 0: not one.
func layoutFor(width int) layout {
	switch {
	case width == 0 || width >= 150:
		return layout{6, 15, 21, 21, 10, 8, 9, 7, width, true}
	case width >= 110:
		return layout{3, 12, 15, 21, 10, 8, 9, 7, width, true}
	default:
		return layout{0, 8, 14, 15, 10, 7, 7, 0, max(width, 40), false}
	}
}

// appendColumns appends the line of column titles.
func (l *layout) appendColumns(b []byte) []byte {
	b = padRight(append(b, "TIME"...), len(b), l.time)
	b = padRight(append(b, " LISTENER"...), len(b), l.listener+1)
	b = padRight(append(b, " PEER"...), len(b), l.peer+1)
	b = padRight(append(b, " EVENT"...), len(b), l.event+1)
	b = appendRight(append(b, ' '), "WAIT", l.wait)
	b = appendRight(append(b, ' '), "DEPTH", l.depth)
	if l.unread > 0 {
		b = appendRight(append(b, ' '), "UNREAD", l.unread)
	}
	return append(b, " BY"...)
}

// padRight pads what was appended since start to width.
func padRight(b []byte, start, width int) []byte {
	for n := utf8.RuneCount(b[start:]); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

// appendRight appends text, right-aligned in width.
func appendRight[T string | []byte](b []byte, text T, width int) []byte {
	room := width
	for i := range len(text) {
		if utf8.RuneStart(text[i]) {
			room--
		}
	}
	for ; room > 0; room-- {
		b = append(b, ' ')
	}
	return append(b, text...)
}

// noBreak is a space at which appendWrapped breaks no line.
const noBreak = "\u00a0"

// appendWrapped appends text broken between words, so that no line is longer
// than edge; the first line begins with indent, the others with hanging. The
// last line has no line feed. A number is never parted from its unit.
func appendWrapped(b []byte, text, indent, hanging string, edge int) []byte {
	b = append(b, indent...)
	column, empty := utf8.RuneCountInString(indent), true
	for text != "" {
		var word string
		word, text = cutWord(text)
		width := utf8.RuneCountInString(word)
		switch {
		case empty:
		case column+1+width > edge:
			b = append(append(b, '\n'), hanging...)
			column = utf8.RuneCountInString(hanging)
		default:
			b = append(b, ' ')
			column++
		}
		b = append(b, strings.ReplaceAll(word, noBreak, " ")...)
		column += width
		empty = false
	}
	return b
}

// cutWord takes the first word, with the unit that follows a number.
func cutWord(text string) (word, rest string) {
	word, rest, _ = strings.Cut(text, " ")
	if word == "" || word[len(word)-1] < '0' || word[len(word)-1] > '9' {
		return word, rest
	}
	unit, after, _ := strings.Cut(rest, " ")
	switch strings.TrimRight(unit, ",;:.)") {
	case "s", "ms", "µs", "ns":
		return word + " " + unit, after
	}
	return word, rest
}
