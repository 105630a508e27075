// Package manual writes man pages, in the man(7) macros. What a page says it is
// given as plain text: paragraphs are filled, and lines that begin with a blank
// stay as they are, as they do in the help of a command.
package manual

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Page is a page of section 1.
type Page struct {
	Name      string // acceptwatch-trace
	Summary   string // in half a line
	Date      string // of the version, 2006-01-02
	Source    string // whose page it is, with its version
	Command   string // how it is called: acceptwatch trace
	Arguments string // what follows then
	Sections  []Section
}

// Section is a part of a page: text, then items.
type Section struct {
	Title string
	Text  string
	Items []Item
}

// Item is a flag, an exit code or a file, and what it means.
type Item struct {
	Term    string
	Value   string // the name of its value; empty: none
	MayLack bool   // the value may be left out, and follows a = if it is not
	Text    string // a paragraph
}

// File is what a page's file is called.
func (p *Page) File() string { return p.Name + ".1" }

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s 1 %s %s\n", quoted(strings.ToUpper(p.Name)), `"`+p.Date+`"`, quoted(p.Source))
	fmt.Fprintf(&b, ".SH NAME\n%s \\-\n", escape(p.Name))
	writeText(&b, p.Summary)
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", escape(p.Command))
	writeText(&b, p.Arguments)
	for _, s := range p.Sections {
		fmt.Fprintf(&b, ".SH %s\n", quoted(s.Title))
		writeText(&b, s.Text)
		for _, i := range s.Items {
			i.write(&b)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (i *Item) write(b *bytes.Buffer) {
	fmt.Fprintf(b, ".TP\n\\fB%s\\fR", escape(i.Term))
	switch value := escape(i.Value); {
	case i.MayLack:
		fmt.Fprintf(b, "[=\\fI%s\\fR]", value)
	case value != "":
		fmt.Fprintf(b, " \\fI%s\\fR", value)
	}
	b.WriteByte('\n')
	writeText(b, i.Text)
}

// writeText begins a paragraph at each empty line but the first, and an example
// where lines begin with a blank.
func writeText(b *bytes.Buffer, text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		writeParagraph(b, paragraph)
	}
}

func writeParagraph(b *bytes.Buffer, text string) {
	var words []string
	example := false
	for line := range strings.Lines(text) {
		if indented := strings.HasPrefix(line, " "); indented != example {
			words = fill(b, words)
			b.WriteString(map[bool]string{true: ".EX\n", false: ".EE\n"}[indented])
			example = indented
		}
		if example {
			b.WriteString(beginning(escape(strings.TrimRight(line, "\n"))) + "\n")
		} else {
			words = append(words, strings.Fields(line)...)
		}
	}
	fill(b, words)
	if example {
		b.WriteString(".EE\n")
	}
}

// widest is how wide a line of text may be, as mandoc's lint has it.
const widest = 80

// fill writes words in lines, and returns none.
func fill(b *bytes.Buffer, words []string) []string {
	line := ""
	for _, word := range words {
		switch word = escape(word); {
		case line == "":
			line = beginning(word)
		case len(line)+1+len(word) > widest:
			b.WriteString(line + "\n")
			line = beginning(word)
		default:
			line += " " + word
		}
	}
	if line != "" {
		b.WriteString(line + "\n")
	}
	return nil
}

var special = strings.NewReplacer(
	`\`, `\e`, `-`, `\-`, "`", `\(ga`, `'`, `\(aq`, `^`, `\(ha`, `~`, `\(ti`,
)

// escape makes plain text of what roff would read; a minus is no hyphen.
func escape(s string) string { return special.Replace(s) }

// beginning keeps a line that begins with a full stop from being a macro.
func beginning(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}

// quoted is an argument of a macro.
func quoted(s string) string {
	return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"`
}
