package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"acceptwatch/internal/event"
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

// Bounds of a page, so that it can be read, sent and opened: it stays below 2
// MiB.
const (
	mostPageRows    = 1000      // listeners in its table
	mostPageStalls  = 200       // in its table
	maxPageViews    = 640 << 10 // bytes of timelines; those of the worst listeners come first
	mostSparkPlaces = 40
	mostViews       = 60
	mostBands       = 100 // stalls drawn in one timeline
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

// cell is a cell of a table that sorts: what it shows, and its place in order.
type cell struct {
	Text string
	Sort float64
}

func number(n uint64) cell          { return cell{ui.Count(n), float64(n)} }
func length(d time.Duration) cell   { return cell{ui.Duration(d), float64(d)} }
func (c cell) Zero() bool           { return c.Sort == 0 }
func known(c cell, known bool) cell { return map[bool]cell{true: c, false: {"–", -1}}[known] }

type stallRow struct {
	From, To, Length, Depth, Dead, Overflow cell
	Listener, Why, Ended                    string
}

type listenerRow struct {
	Name, Owners, Held string
	View               int // its timeline; -1: none
	Spark              string
	SparkAbout         string
	Trouble            bool
	Accepted, P50, P99, Max, Dead, Overflow,
	Failed, Stalled, Deepest cell
}

type failureRow struct {
	Listener, Errno, Means, Who string
	Count, Last                 cell
}

type waitRow struct {
	Length, Until           cell
	Listener, Peer, How, By string
	Unread, DepthAtEntry    cell
}

type fact struct{ Name, Value string }

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
		ui.Duration(r.Length()), counted(len(r.Listeners), "listener", "listeners"), counted(r.Events, "event", "events"))
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
	if half := s.Waits.Quantile(0.5); half > 0 {
		about = "half of them within " + strings.ReplaceAll(ui.Duration(half), " ", "\u00a0")
	}
	p.Tiles = []tile{
		{ui.Count(s.Accepted), "accepted", about, false},
		{ui.Count(s.Dead), "gave up", "clients, before accept", s.Dead > 0},
		{ui.Count(s.Overflow), "refused", "attempts, the queue was full", s.Overflow > 0},
		{ui.Count(s.Failed), "failed", "calls of accept()", s.Failed > 0},
		{ui.Duration(s.Stalled), "stalled", counted(r.StallCount, "time", "times") + " nobody accepted", s.Stalled > 0},
		{ui.Duration(longest), "longest wait", "until accept", false},
	}
}

// view is a timeline of one listener, or of all, as the page's script takes it:
// a list for each column, left out where all are 0.
type view struct {
	Name     string       `json:"name"`
	Depth    []uint32     `json:"depth"`
	Backlog  []uint32     `json:"backlog,omitempty"`
	Fill     []int        `json:"fill,omitempty"` // per cent of the places of the fullest queue
	Accepted []uint32     `json:"accepted"`
	Dead     []uint32     `json:"dead,omitempty"`
	Overflow []uint32     `json:"overflow,omitempty"`
	Failed   []uint64     `json:"failed,omitempty"`
	Purged   []uint32     `json:"purged,omitempty"`
	Stalls   []uint32     `json:"stalls,omitempty"`
	P50      []int64      `json:"p50"` // µs, as the others; -1: none was accepted
	P90      []int64      `json:"p90"`
	P99      []int64      `json:"p99"`
	Max      []int64      `json:"max"`
	Heat     [][]uint32   `json:"heat"`               // the first bin, then the counts of it and those that follow
	Patience [][3]uint64  `json:"patience,omitempty"` // from, to in µs; clients
	Clusters [][2]float64 `json:"clusters,omitempty"` // µs; share
	Bands    [][2]float64 `json:"bands,omitempty"`    // its longest stalls: from, to in ms after the first column begins
	About    string       `json:"about,omitempty"`
}

type chart struct {
	From   float64 `json:"from"`   // ms since 1970
	Zone   int     `json:"zone"`   // minutes east of UTC
	Width  float64 `json:"width"`  // of a column, ms
	Length float64 `json:"length"` // ms
	Count  int     `json:"count"`  // columns
	Bins   []int64 `json:"bins"`   // µs: where each begins, and the last one ends
	Views  []view  `json:"views"`
}

func (p *page) views(w words) (template.JS, error) {
	r := w.r
	start := r.At(r.Total.From)
	_, offset := start.In(w.zone).Zone()
	c := chart{From: float64(start.UnixMicro()) / 1000, Zone: offset / 60, Width: float64(r.Total.Width) / 1e6,
		Length: float64(r.End-r.Total.From) / 1e6, Count: len(r.Total.Columns)}
	for i := range Bins {
		lo, hi := BinBounds(i)
		if i == 0 {
			c.Bins = append(c.Bins, lo.Microseconds())
		}
		c.Bins = append(c.Bins, hi.Microseconds())
	}
	all := viewOf("All listeners", &r.Total, &r.Patience, true)
	c.Views = append(c.Views, all)
	p.Views = append(p.Views, all.Name)
	size, drawn := 0, 0
	for i := range r.Listeners {
		l := &r.Listeners[i]
		if i >= mostPageRows || len(l.Timeline.Columns) == 0 {
			continue
		}
		v := viewOf(w.name(l), &l.Timeline, &l.Patience, false)
		for j := range r.Stalls {
			if s := &r.Stalls[j]; s.Key == l.Key && len(v.Bands) < mostBands {
				v.Bands = append(v.Bands, [2]float64{float64(max(0, s.From-r.Total.From)) / 1e6, float64(s.To-r.Total.From) / 1e6})
			}
		}
		b, err := json.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("encode timeline: %w", err)
		}
		if size += len(b); size > maxPageViews {
			break
		}
		c.Views = append(c.Views, v)
		p.Views = append(p.Views, v.Name)
		if drawn++; drawn == mostViews {
			break
		}
	}
	p.ViewNote = fmt.Sprintf("Time is cut into %s of %s each. Counts, waits and deaths are of the events that were recorded one by one; quantiles of a column are within 12 %%.",
		counted(len(r.Total.Columns), "column", "columns"), ui.Duration(time.Duration(r.Total.Width)))
	if more := len(r.Listeners) - drawn; more > 0 && drawn > 0 {
		p.ViewNote += fmt.Sprintf(" Timelines of %s are left out: nothing happened there, or the page would be too large.", counted(more, "listener", "listeners"))
	}
	b, err := json.Marshal(c) // escapes <, > and &, so that nothing ends the element
	return template.JS(b), err
}

func viewOf(name string, t *Timeline, patience *Patience, all bool) view {
	v := view{Name: name, About: patienceWords(patience)}
	var dead, overflow, purged, stalls uint64
	var failed uint64
	for i := range t.Columns {
		c := &t.Columns[i]
		v.Depth = append(v.Depth, c.Depth)
		if all {
			v.Fill = append(v.Fill, int(100*c.Fill+0.5))
		} else {
			v.Backlog = append(v.Backlog, c.Backlog)
		}
		v.Accepted = append(v.Accepted, c.Accepted)
		v.Dead = append(v.Dead, c.Dead)
		v.Overflow = append(v.Overflow, c.Overflow)
		v.Failed = append(v.Failed, c.Failed)
		v.Purged = append(v.Purged, c.Purged)
		v.Stalls = append(v.Stalls, c.Stalls)
		dead, overflow, purged = dead+uint64(c.Dead), overflow+uint64(c.Overflow), purged+uint64(c.Purged)
		stalls, failed = stalls+uint64(c.Stalls), failed+c.Failed
		quantiles := [4]int64{-1, -1, -1, -1}
		heat := []uint32{}
		if len(c.Waits.counts) > 0 {
			quantiles = [4]int64{c.Waits.Quantile(0.5).Microseconds(), c.Waits.Quantile(0.9).Microseconds(),
				c.Waits.Quantile(0.99).Microseconds(), c.Waits.Max.Microseconds()}
			heat = append(append(heat, uint32(c.Waits.first)), c.Waits.counts...)
		}
		v.P50, v.P90 = append(v.P50, quantiles[0]), append(v.P90, quantiles[1])
		v.P99, v.Max = append(v.P99, quantiles[2]), append(v.Max, quantiles[3])
		v.Heat = append(v.Heat, heat)
	}
	for _, lane := range []struct {
		sum  uint64
		list *[]uint32
	}{{dead, &v.Dead}, {overflow, &v.Overflow}, {purged, &v.Purged}, {stalls, &v.Stalls}} {
		if lane.sum == 0 {
			*lane.list = nil
		}
	}
	if failed == 0 {
		v.Failed = nil
	}
	for _, b := range patience.bars() {
		v.Patience = append(v.Patience, [3]uint64{uint64(b.From.Microseconds()), uint64(b.To.Microseconds()), b.Count})
	}
	for _, c := range patience.Clusters {
		v.Clusters = append(v.Clusters, [2]float64{float64(c.Mean) / 1e3, c.Share})
	}
	return v
}

func (p *page) tables(w words) {
	r := w.r
	at := func(ns int64) cell { return cell{w.clock(ns), float64(ns)} }
	for i := range r.Stalls[:min(len(r.Stalls), mostPageStalls)] {
		s := &r.Stalls[i]
		why := w.notCalled()
		if s.Errno != 0 {
			why = "accept() failed with " + errnoWords(s.Errno)
			if who := s.Failing.String(); who != "" {
				why += " in " + who
			}
		}
		if s.Errno == 0 && s.Diagnosis != nil {
			why = ui.Clean(s.Diagnosis.Verdicts[0].Summary) + " (confidence: " + s.Diagnosis.Verdicts[0].Confidence.String() + ")"
		}
		p.Stalls = append(p.Stalls, stallRow{at(s.From), at(s.To), length(s.Length()), number(uint64(s.Depth)), number(s.Dead),
			number(s.Overflow), w.at(s.Key), why, ending(s)})
	}
	if more := r.StallCount - uint64(len(p.Stalls)); more > 0 {
		p.StallNote = counted(more, "shorter stall is", "shorter stalls are") + " left out."
	}
	view := make(map[string]int, len(p.Views))
	for i, name := range p.Views {
		view[name] = i
	}
	for i := range r.Listeners[:min(len(r.Listeners), mostPageRows)] {
		l := &r.Listeners[i]
		row := listenerRow{
			Name: w.name(l), Owners: l.ownerList(), View: -1, Trouble: l.troubled(),
			Accepted: number(l.Accepted), Dead: number(l.Dead()), Overflow: number(l.Overflow()), Failed: number(l.Failed()),
			Stalled: length(l.Stalled), P50: known(length(l.Wait.P50), l.Wait.Count > 0), P99: known(length(l.Wait.P99), l.Wait.Count > 0),
			Max:     known(length(l.Wait.Max), l.Wait.Max > 0),
			Deepest: cell{ui.Count(l.MaxDepth) + " / " + ui.Count(cmp.Or(l.MaxDepthBacklog, l.Backlog)), float64(l.MaxDepth)},
		}
		if i, ok := view[row.Name]; ok {
			row.View = i
		}
		row.Spark = sparkline(l.Timeline.Columns)
		p.Listeners = append(p.Listeners, row)
		for j := range l.AcceptErrors {
			f := &l.AcceptErrors[j]
			p.Failures = append(p.Failures, failureRow{row.Name, event.ErrnoName(f.Errno), errnoWords(f.Errno),
				cmp.Or(Who{PID: f.PID, Comm: f.Comm}.String(), "further processes"), number(f.Count), at(f.Last)})
		}
	}
	for j := range r.AcceptErrors {
		f := &r.AcceptErrors[j]
		p.Failures = append(p.Failures, failureRow{"not known", event.ErrnoName(f.Errno), errnoWords(f.Errno),
			cmp.Or(Who{PID: f.PID, Comm: f.Comm}.String(), "further processes"), number(f.Count), at(f.Last)})
	}
	p.Failures = p.Failures[:min(len(p.Failures), mostPageStalls)]
	if more := len(r.Listeners) - len(p.Listeners); more > 0 {
		p.ListenerNote = counted(more, "listener with less trouble is", "listeners with less trouble are") + " left out."
	}
	for i := range r.Longest {
		x := &r.Longest[i]
		p.Waits = append(p.Waits, waitRow{length(x.Length), at(x.Time), w.at(x.Listener), x.Peer.String(), x.how(), x.by(),
			number(uint64(x.Unread)), number(uint64(x.DepthAtEntry))})
	}
}

// sparkline is the path of the depth over time, in a box of 100 by 20.
func sparkline(columns []Column) string {
	per := max(1, (len(columns)+mostSparkPlaces-1)/mostSparkPlaces)
	most := uint32(0)
	var values []uint32
	for i := range columns {
		if i%per == 0 {
			values = append(values, 0)
		}
		v := &values[len(values)-1]
		*v = max(*v, columns[i].Depth)
		most = max(most, *v)
	}
	if most == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("M0 20")
	before := -1
	for i, v := range values {
		y := 20 - int(float64(v)/float64(most)*19+0.5)
		if v > 0 && y == 20 {
			y = 19
		}
		if y != before {
			fmt.Fprintf(&b, "H%dV%d", i*100/len(values), y)
			before = y
		}
	}
	b.WriteString("H100V20Z")
	return b.String()
}

func (p *page) about(w words) {
	r := w.r
	h := &r.Header
	add := func(name, value string) {
		if value != "" {
			p.About = append(p.About, fact{name, ui.Clean(value)})
		}
	}
	add("Recorded", w.r.At(r.Start).In(w.zone).Format(time.RFC3339)+" to "+w.r.At(r.End).In(w.zone).Format(time.RFC3339))
	add("Host", h.Host)
	add("Kernel", h.Kernel)
	add("Recorded by", h.Tool)
	add("Mode", h.Mode)
	add("Why this mode", h.Why)
	add("Selected", h.Filter)
	for _, limit := range h.Limits {
		add("Limit", limit)
	}
	add("Called a stall", "a queue with entries from which nobody accepted for "+ui.Duration(r.StallAfter))
	sum := r.Sum()
	add("Accepted connections", fmt.Sprintf("%s counted, of which %s recorded one by one", ui.Count(sum.Accepted), ui.Count(sum.Recorded)))
	for _, note := range r.Notes {
		add("Note", note)
	}
	for _, l := range r.Losses {
		p.Losses = append(p.Losses, ui.Count(l.Count)+" "+ui.Clean(l.Text))
	}
	for _, d := range r.Flaws.Damage {
		p.Losses = append(p.Losses, d.Error())
	}
	if more := r.Flaws.Damages - uint64(len(r.Flaws.Damage)); more > 0 {
		p.Losses = append(p.Losses, counted(more, "more damaged place", "more damaged places"))
	}
	if t := r.Flaws.Torn; t != nil {
		p.Losses = append(p.Losses, t.Error())
	}
	if n := r.Flaws.Skipped; n > 0 {
		p.Losses = append(p.Losses, counted(n, "record is", "records are")+" of a later version of the format, and left out")
	}
}
