package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/quantity"
	"acceptwatch/internal/ui"
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

// cell is a cell of a table that sorts: what it shows, and its place in order.
type cell struct {
	Text string
	Sort float64
}

func number(n uint64) cell          { return cell{ui.Count(n), float64(n)} }
func length(d time.Duration) cell   { return cell{ui.Duration(d), float64(d)} }
func (c cell) Zero() bool           { return c.Sort == 0 }
func known(c cell, known bool) cell { return map[bool]cell{true: c, false: {"–", -1}}[known] }

// accepts is how many were accepted, or how many at least.
func accepts(r *listener.Row) cell {
	c := number(r.Accepted)
	if r.AtLeast {
		c.Text = "≥ " + c.Text
	}
	return c
}

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
		p.StallNote = quantity.Of(more, "[shorter stall is|shorter stalls are]") + " left out."
	}
	view := make(map[string]int, len(p.Views))
	for i, name := range p.Views {
		view[name] = i
	}
	for i := range r.Listeners[:min(len(r.Listeners), mostPageRows)] {
		l := &r.Listeners[i]
		row := listenerRow{
			Name: w.name(l), Owners: l.ownerList(), View: -1, Trouble: l.troubled(),
			Accepted: accepts(&l.Row), Dead: number(l.Dead()), Overflow: number(l.Overflow()), Failed: number(l.Failed()),
			Stalled: length(l.Stalled), P50: known(length(l.Wait.P50), l.quantiles()), P99: known(length(l.Wait.P99), l.quantiles()),
			Max:     known(length(l.Wait.Max), l.Wait.Max > 0),
			Deepest: known(cell{ui.Count(l.MaxDepth) + " / " + ui.Count(cmp.Or(l.MaxDepthBacklog, l.Backlog)), float64(l.MaxDepth)}, !l.MaxDepthUnknown),
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
		p.ListenerNote = quantity.Of(more, "[listener with less trouble is|listeners with less trouble are]") + " left out."
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
