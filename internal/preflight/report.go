package preflight

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Report is what doctor prints.
type Report struct {
	Findings []Finding
	Summary  Summary
}

// Summary closes a report.
type Summary struct {
	Mode    string   `json:"mode"`
	Why     string   `json:"why,omitempty"`
	Exact   []string `json:"exact,omitempty"`
	Inexact []string `json:"inexact,omitempty"`
	OK      int      `json:"ok"` // findings of each status
	Warn    int      `json:"warn"`
	Fail    int      `json:"fail"`
}

// NewReport makes the whole report. It is pure.
func NewReport(h Host) Report {
	r := Report{Findings: Diagnose(h), Summary: Summary{
		Mode: h.Plan.Mode, Why: h.Plan.Why, Exact: exact(&h), Inexact: h.Plan.Limits,
	}}
	for _, f := range r.Findings {
		switch f.Status {
		case OK:
			r.Summary.OK++
		case Warn:
			r.Summary.Warn++
		case Fail:
			r.Summary.Fail++
		}
	}
	return r
}

// WriteJSON writes a line for each finding (type "finding") and a last one of
// type "summary".
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, f := range r.Findings {
		if err := enc.Encode(struct {
			Type string `json:"type"`
			Finding
		}{"finding", f}); err != nil {
			return err
		}
	}
	return enc.Encode(struct {
		Type string `json:"type"`
		Summary
	}{"summary", r.Summary})
}

const (
	statusWidth = 6
	idWidth     = 16
	labelWidth  = 6
)

// WriteText writes for people, at most width columns wide. What is fine takes
// one line; the rest says what follows, what was seen and what to do.
func (r Report) WriteText(w io.Writer, width int, color bool) error {
	t := textWriter{width: width, color: color}
	for _, f := range r.Findings {
		t.finding(f)
	}
	t.line("")
	t.wrapped("mode: ", 11, fmt.Sprintf("%s (%s)", r.Summary.Mode, r.Summary.Why))
	t.list("exact: ", r.Summary.Exact)
	t.list("not exact: ", r.Summary.Inexact)
	_, err := io.WriteString(w, t.out.String())
	return err
}

type textWriter struct {
	out   strings.Builder
	width int
	color bool
}

func (t *textWriter) line(s string) { t.out.WriteString(s + "\n") }

func (t *textWriter) finding(f Finding) {
	const indent = statusWidth + idWidth
	status := pad(string(f.Status), statusWidth)
	if t.color {
		status = statusColor(f.Status) + status + "\x1b[0m"
	}
	if utf8.RuneCountInString(f.ID) >= idWidth {
		t.line(status + f.ID)
		t.wrapped(pad("", indent), indent, f.What)
	} else {
		t.out.WriteString(status)
		t.out.WriteString(pad(f.ID, idWidth))
		t.continued(indent, f.What)
	}
	for _, more := range []struct{ label, text string }{
		{"so:", f.Consequence}, {"seen:", f.Error}, {"do:", f.Remedy},
	} {
		if more.text != "" && (f.Status != OK || more.label == "so:") {
			t.wrapped(pad("", indent)+pad(more.label, labelWidth), indent+labelWidth, more.text)
		}
	}
}

func (t *textWriter) list(label string, items []string) {
	for i, item := range items {
		if i > 0 {
			label = ""
		}
		t.wrapped(pad(label, 11), 11, item)
	}
}

// wrapped writes prefix, which is indent columns wide or padded to be, and
// text with further lines indented.
func (t *textWriter) wrapped(prefix string, indent int, text string) {
	t.out.WriteString(pad(prefix, indent))
	t.continued(indent, text)
}

// continued writes text from column indent on. Words longer than a line are
// not broken, so that paths and errors can be copied.
func (t *textWriter) continued(indent int, text string) {
	column := indent
	for i, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+length > t.width:
			t.out.WriteString("\n" + pad("", indent))
			column = indent
		default:
			t.out.WriteString(" ")
			column++
		}
		t.out.WriteString(word)
		column += length
	}
	t.out.WriteString("\n")
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func statusColor(s Status) string {
	switch s {
	case OK:
		return "\x1b[32m"
	case Warn:
		return "\x1b[33m"
	default:
		return "\x1b[31m"
	}
}
