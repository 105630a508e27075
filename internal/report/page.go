package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

var (
	//go:embed page.html.tmpl
	pageTemplate string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string
)

// HTMLOptions are the settings of the page of a report.
type HTMLOptions struct {
	Zone *time.Location // of times of day; nil: UTC
}

// WriteHTML writes a report as one page that needs nothing else: no network, no
// other file. The error is that of out.
func WriteHTML(out io.Writer, r *Report, o HTMLOptions) error {
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("parse template of the page: %w", err)
	}
	p, err := newPage(r, o.Zone)
	if err != nil {
		return err
	}
	return t.Execute(out, p)
}

// page is what the template shows.
type page struct {
	Style  template.CSS
	Script template.JS
	Policy string

	Title, Subtitle string
	Verdict         Verdict
	Groups          []findingGroup
	Tiles           []tile
	Data            template.JS // JSON
	Views           []string
	ViewNote        string
	Patience        string
	Stalls          []stallRow
	StallNote       string
	Listeners       []listenerRow
	ListenerNote    string
	Failures        []failureRow
	Waits           []waitRow
	About           []fact
	Losses          []string
}

type findingGroup struct {
	Name     string
	Findings []Finding
}

type tile struct {
	Value, Label, About string
	Bad                 bool
}

func newPage(r *Report, zone *time.Location) (*page, error) {
	w := words{r, zone}
	p := &page{Style: template.CSS(pageStyle), Script: template.JS(pageScript), Verdict: r.Verdict(zone)}
	sum := sha256.Sum256([]byte(pageScript))
	p.Policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	from := r.At(r.Start).In(zone)
	p.Title = "acceptwatch report"
	if host := ui.Clean(r.Header.Host); host != "" {
		p.Title += " on " + host
	}
	p.Subtitle = fmt.Sprintf("%s – %s, %s · %s · %s", from.Format("2 January 2006, 15:04:05"), r.At(r.End).In(zone).Format("15:04:05 MST"),
		ui.Duration(r.Length()), ui.Plural(len(r.Listeners), "listener"), ui.Plural(r.Events, "event"))
	for _, f := range p.Verdict.Findings {
		if n := len(p.Groups); n == 0 || p.Groups[n-1].Name != f.Listener {
			p.Groups = append(p.Groups, findingGroup{Name: f.Listener})
		}
		g := &p.Groups[len(p.Groups)-1]
		g.Findings = append(g.Findings, f)
	}
	p.tiles(r)
	data, err := p.views(w)
	if err != nil {
		return nil, err
	}
	p.Data = data
	p.tables(w)
	p.about(w)
	return p, nil
}

func (p *page) tiles(r *Report) {
	s := r.Sum()
	longest := time.Duration(0)
	for i := range r.Listeners {
		longest = max(longest, r.Listeners[i].Wait.Max)
	}
	about := "connections"
	if half := s.Waits.Quantile(0.5); r.Header.Mode == listener.Restricted && s.Accepted > 0 {
		about = ui.SeenWaiting(s.Seen, s.Accepted)
	} else if half > 0 {
		about = "half of them within " + strings.ReplaceAll(ui.Duration(half), " ", "\u00a0")
	}
	if s.AtLeast {
		about = "at least; " + about
	}
	p.Tiles = []tile{
		{ui.Count(s.Accepted), "accepted", about, false},
		{ui.Count(s.Dead), "gave up", "clients, before accept", s.Dead > 0},
		{ui.Count(s.Overflow), "refused", "attempts, the queue was full", s.Overflow > 0},
		{ui.Count(s.Failed), "failed", "calls of accept()", s.Failed > 0},
		{ui.Duration(s.Stalled), "stalled", ui.Plural(r.StallCount, "time") + " nobody accepted", s.Stalled > 0},
		{ui.Duration(longest), "longest wait", "until accept", false},
	}
}
