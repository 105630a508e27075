package manual

import (
	"bytes"
	"testing"

	"acceptwatch/internal/golden"
)

func TestPage(t *testing.T) {
	p := Page{
		Name: "tool-do", Summary: "Do it", Date: "2026-11-25", Source: "tool v1.2", Command: "tool do", Arguments: "[flags]",
		Sections: []Section{
			{Title: "DESCRIPTION", Text: `Does it, with --flag 'quoted' and a \ in it
over two lines, of which the second is one that is much longer than what a line may be, so it is filled.

  WAIT   how long
         it takes

  ~      later

.hidden is a file. After ` + "`cat a`" + `:
  one
that is all.
`},
			{Title: "OPTIONS", Items: []Item{
				{Term: "-f, --flag", Value: "name", Text: "what for"},
				{Term: "--all", Text: "no value"},
				{Term: "--why", Value: "how", MayLack: true, Text: "may lack its value"},
			}},
			{Title: `SAID "SO"`, Text: "  tool do -- it"},
		},
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "page.1", b.Bytes())
	if p.File() != "tool-do.1" {
		t.Error(p.File())
	}
}
