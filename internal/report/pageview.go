package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"time"

	"acceptwatch/internal/ui"
)

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
		ui.Plural(len(r.Total.Columns), "column"), ui.Duration(time.Duration(r.Total.Width)))
	if w.sampled() {
		p.ViewNote += " In mode restricted, the accepted connections that are drawn are those that a look caught waiting, and so are the waits."
	}
	if more := len(r.Listeners) - drawn; more > 0 && drawn > 0 {
		p.ViewNote += fmt.Sprintf(" Timelines of %s are left out: nothing happened there, or the page would be too large.", ui.Plural(more, "listener"))
	}
	b, err := json.Marshal(c) // escapes <, > and &, so that nothing ends the element
	return template.JS(b), err
}

func viewOf(name string, t *Timeline, patience *Patience, all bool) view {
	v := view{Name: name, About: patienceWords(patience)}
	if v.About == "" && patience.Known > 0 {
		v.About = "They gave up after all kinds of waits."
	}
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
