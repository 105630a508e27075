package ui

// style is a terminal attribute by meaning; its value is the SGR parameters.
type style string

const (
	plain   style = ""
	faint   style = "2"
	strong  style = "1"
	problem style = "1;31"   // a connection that died in the queue
	slow    style = "33"     // accepted after a second or more
	alarm   style = "1;7;31" // nobody accepts
	relief  style = "1;32"   // somebody does again
)

// append begins a style; without colour it appends nothing.
func (p *palette) append(b []byte, s style) []byte {
	if !p.on || s == plain {
		return b
	}
	b = append(b, "\x1b["...)
	b = append(b, s...)
	return append(b, 'm')
}

// end ends what append of the same style began.
func (p *palette) end(b []byte, s style) []byte {
	if !p.on || s == plain {
		return b
	}
	return append(b, "\x1b[0m"...)
}

// paint is text in a style.
func (p *palette) paint(s style, text string) string {
	return string(p.end(append(p.append(nil, s), text...), s))
}

// palette colours, or does not.
type palette struct{ on bool }
