package peers

import (
	_ "embed"
	"io"
	"strings"
	"text/template"

	"acceptwatch/internal/ui"
)

//go:embed page.md.tmpl
var pageText string

// WritePage writes the page of the measurement, in Markdown; it shows the plot
// peers.svg beside it.
func (a *All) WritePage(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"count": func(n any) string {
			switch n := n.(type) {
			case int:
				return ui.Count(n)
			case int64:
				return ui.Count(n)
			}
			return "?"
		},
		"cells": func(of interface{ cells() [][]string }) [][]string { return of.cells() },
		"row":   markdownRow,
	}).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, a)
}

// markdownRow is a row of a table, with empty cells at its end where it is short.
func markdownRow(columns int, cells []string) string {
	var b strings.Builder
	b.WriteString("|")
	for i := range columns {
		if i < len(cells) {
			b.WriteString(" " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(cells[i]))
		}
		b.WriteString(" |")
	}
	return b.String()
}
