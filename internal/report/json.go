package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/export"
	"acceptwatch/internal/listener"
)

type reportRecord struct {
	Type       string          `json:"type"`
	From       time.Time       `json:"from"`
	To         time.Time       `json:"to"`
	Duration   time.Duration   `json:"duration_ns"`
	Host       string          `json:"host,omitempty"`
	Kernel     string          `json:"kernel,omitempty"`
	Mode       string          `json:"mode"`
	StallAfter time.Duration   `json:"stall_after_ns"`
	Events     uint64          `json:"events"`
	Headline   string          `json:"headline"`
	Trouble    bool            `json:"trouble"`
	Findings   []findingRecord `json:"findings"`
	Damages    uint64          `json:"damages,omitempty"`
	Torn       string          `json:"torn,omitempty"`
	Skipped    int             `json:"skipped,omitempty"`
}

type findingRecord struct {
	Kind     FindingKind `json:"kind"`
	Listener string      `json:"listener,omitempty"`
	Text     string      `json:"text"`
}

// whereRecord is a bound address; nothing: all, or not known.
type whereRecord struct {
	Listener string `json:"listener,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
}

func where(key listener.Key) whereRecord {
	if !key.Addr.IsValid() {
		return whereRecord{}
	}
	return whereRecord{key.Addr.String(), key.NetNS}
}

type timelineRecord struct {
	Type string `json:"type"`
	whereRecord
	From    time.Time      `json:"from"`
	Width   time.Duration  `json:"width_ns"`
	Columns []columnRecord `json:"columns"`
}

type columnRecord struct {
	Depth        uint32       `json:"depth"`
	Backlog      uint32       `json:"backlog"`
	Accepted     uint32       `json:"accepted"`
	GaveUp       uint32       `json:"gave_up"`
	Overflow     uint32       `json:"overflow"`
	AcceptErrors uint64       `json:"accept_errors"`
	Purged       uint32       `json:"purged"`
	Waits        *waitsRecord `json:"wait_ns,omitempty"`
}

type waitsRecord struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

type patienceRecord struct {
	Type string `json:"type"`
	whereRecord
	GaveUp   uint64          `json:"gave_up"`
	Late     uint64          `json:"late"`
	Vanished uint64          `json:"vanished"`
	Bins     []binRecord     `json:"bins"`
	Clusters []clusterRecord `json:"clusters"`
}

type binRecord struct {
	From  time.Duration `json:"from_ns"`
	To    time.Duration `json:"to_ns"`
	Count uint64        `json:"count"`
}

type clusterRecord struct {
	Mean  time.Duration `json:"mean_ns"`
	Count uint64        `json:"count"`
	Share float64       `json:"share"`
}

type whoRecord struct {
	PID  uint32 `json:"pid"`
	TID  uint32 `json:"tid,omitempty"`
	Comm string `json:"comm,omitempty"`
}

func (w Who) record() *whoRecord {
	if w.PID == 0 {
		return nil
	}
	return &whoRecord{w.PID, w.TID, w.Comm.String()}
}

type stallRecord struct {
	Type string `json:"type"`
	whereRecord
	From         time.Time     `json:"from"`
	To           time.Time     `json:"to"`
	Duration     time.Duration `json:"duration_ns"`
	Ended        string        `json:"ended"`
	By           *whoRecord    `json:"by,omitempty"`
	Before       *whoRecord    `json:"before,omitempty"`
	Errno        string        `json:"errno,omitempty"`
	Failing      *whoRecord    `json:"failing,omitempty"`
	AcceptErrors *uint64       `json:"accept_errors,omitempty"` // nil: some are known of, but were not recorded
	Depth        uint32        `json:"depth"`
	Backlog      uint32        `json:"backlog"`
	GaveUp       uint64        `json:"gave_up"`
	Overflow     uint64        `json:"overflow"`
}

type waitRecord struct {
	Type string `json:"type"`
	whereRecord
	Time   time.Time     `json:"time"`
	Wait   time.Duration `json:"wait_ns"`
	Peer   string        `json:"peer,omitempty"`
	State  string        `json:"state"`
	Event  string        `json:"event"`
	Unread uint32        `json:"unread_bytes"`
	*whoRecord
}

// WriteJSON writes a report as JSON Lines, for programs. The error is that of
// out.
func WriteJSON(out io.Writer, r *Report) error {
	w := bufio.NewWriter(out)
	e := json.NewEncoder(w)
	var err error
	put := func(record any) {
		if err == nil {
			err = e.Encode(record)
		}
	}
	wall := func(ns int64) time.Time { return r.At(ns) }
	v := r.Verdict(time.UTC)
	head := reportRecord{
		Type: "report", From: wall(r.Start), To: wall(r.End), Duration: r.Length(), Host: r.Header.Host, Kernel: r.Header.Kernel,
		Mode: r.Header.Mode, StallAfter: r.StallAfter, Events: r.Events, Headline: v.Headline, Trouble: v.Bad,
		Findings: []findingRecord{}, Damages: r.Flaws.Damages, Skipped: r.Flaws.Skipped,
	}
	for _, f := range v.Findings {
		head.Findings = append(head.Findings, findingRecord(f))
	}
	if r.Flaws.Torn != nil {
		head.Torn = r.Flaws.Torn.Error()
	}
	put(&head)
	refusals := r.Header.Mode != listener.Restricted
	for i := range r.Listeners {
		l := &r.Listeners[i]
		line := export.Listener{Row: &l.Row, Owners: l.Owners, Refusals: refusals, Wall: wall, HeldKnown: l.HeldKnown}
		for _, h := range l.Held {
			line.Held = append(line.Held, export.Held(h))
		}
		if err == nil {
			_, err = w.Write(export.AppendListener(nil, &line))
		}
	}
	put(r.timelineRecord(listener.Key{}, &r.Total))
	for i := range r.Listeners {
		if l := &r.Listeners[i]; len(l.Timeline.Columns) > 0 {
			put(r.timelineRecord(l.Key, &l.Timeline))
		}
	}
	for i := range r.Listeners {
		if l := &r.Listeners[i]; l.Patience.Known+l.Patience.Late+l.Patience.Vanished > 0 {
			put(l.Patience.record(l.Key))
		}
	}
	for i := range r.Stalls {
		s := &r.Stalls[i]
		record := stallRecord{
			Type: "stall", whereRecord: where(s.Key), From: wall(s.From), To: wall(s.To), Duration: s.Length(), Ended: s.Ended.String(),
			By: s.By.record(), Before: s.Before.record(), Failing: s.Failing.record(),
			Depth: s.Depth, Backlog: s.Backlog, GaveUp: s.Dead, Overflow: s.Overflow,
		}
		if s.Errno != 0 {
			record.Errno = event.ErrnoName(s.Errno)
		}
		if s.Errno == 0 || s.Failed > 0 {
			record.AcceptErrors = &s.Failed
		}
		put(&record)
	}
	for i := range r.Diagnoses {
		d := &r.Diagnoses[i]
		if err == nil {
			_, err = w.Write(export.AppendDiagnosis(nil, wall(d.Evidence.Time), d.Evidence, d.Verdicts))
		}
	}
	for i := range r.Longest {
		x := &r.Longest[i]
		put(&waitRecord{Type: "wait", whereRecord: where(x.Listener), Time: wall(x.Time), Wait: x.Length, Peer: x.Peer.String(),
			State: x.State.String(), Event: x.Kind.String(), Unread: x.Unread, whoRecord: Who{x.PID, x.TID, x.Comm}.record()})
	}
	sum := r.Sum()
	total := export.Summary{Time: wall(r.End), Mode: r.Header.Mode, Duration: r.Length(), Listeners: len(r.Listeners),
		Accepts: export.AcceptsOf(sum.Accepted, sum.AtLeast), CloseWait: sum.CloseWait, Reset: sum.Reset, Purged: sum.Purged}
	var tail []byte
	for i := range r.Losses {
		total.Losses += r.Losses[i].Count
		tail = export.AppendLoss(tail, &r.Losses[i])
	}
	if refusals {
		total.Refusals = &export.Refusals{Overflow: sum.Overflow, AcceptErrors: sum.Failed, Elsewhere: r.AcceptErrors}
	}
	tail = export.AppendSummary(tail, total, wall)
	if err == nil {
		_, err = w.Write(tail)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return w.Flush()
}

func (r *Report) timelineRecord(key listener.Key, t *Timeline) *timelineRecord {
	record := &timelineRecord{Type: "timeline", whereRecord: where(key), From: r.At(t.From), Width: time.Duration(t.Width)}
	for i := range t.Columns {
		c := &t.Columns[i]
		column := columnRecord{Depth: c.Depth, Backlog: c.Backlog, Accepted: c.Accepted, GaveUp: c.Dead,
			Overflow: c.Overflow, AcceptErrors: c.Failed, Purged: c.Purged}
		if len(c.Waits.counts) > 0 {
			column.Waits = &waitsRecord{c.Waits.Quantile(0.5), c.Waits.Quantile(0.99), c.Waits.Max}
		}
		record.Columns = append(record.Columns, column)
	}
	return record
}

func (p *Patience) record(key listener.Key) *patienceRecord {
	record := &patienceRecord{Type: "patience", whereRecord: where(key), GaveUp: p.Known, Late: p.Late, Vanished: p.Vanished,
		Bins: []binRecord{}, Clusters: []clusterRecord{}}
	for _, b := range p.Bins {
		record.Bins = append(record.Bins, binRecord{b.From, b.To, b.Count})
	}
	for _, c := range p.Clusters {
		record.Clusters = append(record.Clusters, clusterRecord{c.Mean, c.Count, c.Share})
	}
	return record
}
