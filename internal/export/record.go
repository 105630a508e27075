package export

import (
	"encoding/json"
	"slices"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

type ownerRecord struct {
	PID       int    `json:"pid"`
	Comm      string `json:"comm"`
	Exe       string `json:"exe,omitempty"`
	Command   string `json:"command,omitempty"`
	Container string `json:"container,omitempty"`
	Runtime   string `json:"runtime,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Unit      string `json:"unit,omitempty"`
}

type waitRecord struct {
	P50 *time.Duration `json:"p50,omitempty"`
	P90 *time.Duration `json:"p90,omitempty"`
	P99 *time.Duration `json:"p99,omitempty"`
	Max time.Duration  `json:"max"`
}

type unacceptedRecord struct {
	Established *uint32 `json:"ESTABLISHED,omitempty"`
	CloseWait   uint32  `json:"CLOSE_WAIT"`
	Close       *uint32 `json:"CLOSE,omitempty"`
	SynRecv     *uint32 `json:"SYN_RECV,omitempty"`
}

type failureRecord struct {
	PID   uint32    `json:"pid,omitempty"`
	Comm  string    `json:"comm,omitempty"`
	Errno string    `json:"errno"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

type heldRecord struct {
	PID     int    `json:"pid,omitempty"`
	Comm    string `json:"comm,omitempty"`
	FDs     []int  `json:"fds,omitempty"`
	Sockets int    `json:"sockets"`
	Silent  *int64 `json:"silent_ns,omitempty"`
}

// refusalRecord is what not every mode counts.
type refusalRecord struct {
	Overflow        uint64          `json:"overflow"`
	OverflowSYN     uint64          `json:"overflow_syn"`
	OverflowLastACK uint64          `json:"overflow_last_ack"`
	MigratedIn      uint64          `json:"migrated_in"`
	MigratedOut     uint64          `json:"migrated_out"`
	MaxDepth        *uint32         `json:"max_depth,omitempty"`
	FullNS          time.Duration   `json:"full_ns"`
	AcceptErrors    []failureRecord `json:"accept_errors"`
}

// countRecord is what was counted since the start of a trace.
type countRecord struct {
	Enqueued uint64 `json:"enqueued"`
	Accepts
	Waits     *waitRecord `json:"wait_ns,omitempty"`
	Seen      *uint64     `json:"accepted_seen,omitempty"`
	SeenWaits *waitRecord `json:"seen_wait_ns,omitempty"`
	CloseWait uint64      `json:"close_wait"`
	Reset     uint64      `json:"reset"`
	Purged    uint64      `json:"purged"`
}

// Accepts are accepted connections: how many, or how many at least.
type Accepts struct {
	Exactly *uint64 `json:"accepted,omitempty"`
	AtLeast *uint64 `json:"accepted_at_least,omitempty"`
}

// AcceptsOf are n, or n at least.
func AcceptsOf(n uint64, atLeast bool) Accepts {
	if atLeast {
		return Accepts{AtLeast: &n}
	}
	return Accepts{Exactly: &n}
}

type listenerRecord struct {
	Type           string            `json:"type"`
	Time           *time.Time        `json:"time,omitempty"`
	Listener       string            `json:"listener,omitempty"`
	NetNS          uint32            `json:"netns,omitempty"`
	Owners         []ownerRecord     `json:"owners,omitempty"`
	Depth          *uint32           `json:"depth,omitempty"`
	Backlog        *uint32           `json:"backlog,omitempty"`
	OldestNS       *time.Duration    `json:"oldest_ns,omitempty"`
	*countRecord                     // nil: of a snapshot
	*refusalRecord                   // nil: not counted
	Lost           *uint64           `json:"lost,omitempty"`
	Unaccepted     *unacceptedRecord `json:"unaccepted,omitempty"`
	HeldCloseWait  *int              `json:"held_close_wait,omitempty"`
	Held           []heldRecord      `json:"held,omitempty"`
	*queueRecord                     // nil: of a trace
}

// Listener is a row with what is not in events.
type Listener struct {
	Row    *listener.Row
	Owners []owner.Process
	// Refusals says that refused connections, failed accepts, migrations and
	// the time with a full queue are counted in this mode.
	Refusals bool
	Wall     func(ns int64) time.Time // from CLOCK_MONOTONIC
	// Held are the connections that were accepted, are in CLOSE_WAIT and still
	// open, by the process that has them. HeldKnown says that somebody looked.
	Held      []Held
	HeldKnown bool
	// Snapshot is what a look found; nil: the row is of a trace.
	Snapshot *Snapshot
}

// Held are sockets in CLOSE_WAIT that a process has open.
type Held struct {
	Owner   owner.Process // FDs are those of the sockets; PID 0: not known whose
	Sockets int
	Silent  time.Duration // since anything came from the client that was heard longest ago; 0: not known
}

// AppendListener appends the line of a listener, with a line feed.
func AppendListener(b []byte, l *Listener) []byte {
	row := l.Row
	record := listenerRecord{
		Type: "listener", NetNS: row.Key.NetNS,
	}
	if l.Snapshot != nil {
		l.Snapshot.fill(&record)
	} else {
		record.countRecord = countsOf(row)
	}
	if l.Refusals {
		record.refusalRecord = &refusalRecord{
			Overflow: row.Overflow(), OverflowSYN: row.OverflowSYN, OverflowLastACK: row.OverflowACK,
			MigratedIn: row.MigratedIn, MigratedOut: row.MigratedOut,
			FullNS: row.Full, AcceptErrors: failureRecords(row.AcceptErrors, l.Wall),
		}
		if !row.MaxDepthUnknown {
			record.MaxDepth = &row.MaxDepth
		}
	}
	if l.HeldKnown {
		record.HeldCloseWait = new(int)
		for _, h := range l.Held {
			*record.HeldCloseWait += h.Sockets
			held := heldRecord{PID: h.Owner.PID, Comm: h.Owner.Comm, FDs: slices.Sorted(slices.Values(h.Owner.FDs)), Sockets: h.Sockets}
			if h.Silent > 0 {
				held.Silent = (*int64)(&h.Silent)
			}
			record.Held = append(record.Held, held)
		}
	}
	if row.Key.Addr.IsValid() {
		record.Listener = row.Key.Addr.String()
	}
	for _, p := range l.Owners {
		record.Owners = append(record.Owners, ownerRecordOf(&p))
	}
	if row.Open > 0 {
		record.Depth, record.Backlog = &row.Depth, &row.Backlog
		u := &row.Unaccepted
		record.Unaccepted = &unacceptedRecord{CloseWait: u.CloseWait, Close: &u.Close}
		if l.Snapshot != nil && u.NotLooked > 0 {
			record.Unaccepted.Close = nil
		}
		if u.Known && u.NotLooked == 0 {
			record.Unaccepted.Established, record.Unaccepted.SynRecv = &u.Established, &u.SynRecv
		}
	}
	if oldest, known := row.Oldest(); known {
		record.OldestNS = &oldest
	}
	if row.AttachKnown && l.Snapshot == nil && !row.Sampled {
		record.Lost = &row.Lost
	}
	return appendRecord(b, record)
}

func countsOf(row *listener.Row) *countRecord {
	c := &countRecord{
		Enqueued: row.Enqueued, Accepts: AcceptsOf(row.Accepted, row.AtLeast),
		CloseWait: row.CloseWait, Reset: row.Reset, Purged: row.Purged,
	}
	waits := &c.Waits
	if row.Sampled {
		c.Seen, waits = &row.Seen, &c.SeenWaits
	}
	if w := &row.Wait; w.Count > 0 {
		*waits = &waitRecord{&w.P50, &w.P90, &w.P99, w.Max}
	} else if w.Max > 0 {
		*waits = &waitRecord{Max: w.Max}
	}
	return c
}

func ownerRecordOf(p *owner.Process) ownerRecord {
	id := &p.Identity
	return ownerRecord{p.PID, p.Comm, id.Exe, id.Command, id.Container, id.Runtime, id.Pod, id.Unit}
}

// failureRecords are never nil: there are none is not that they are not known.
func failureRecords(all []listener.AcceptFailures, wall func(int64) time.Time) []failureRecord {
	records := make([]failureRecord, 0, len(all))
	for i := range all {
		f := &all[i]
		records = append(records, failureRecord{f.PID, f.Comm.String(), event.ErrnoName(f.Errno), f.Count, wall(f.Last).UTC()})
	}
	return records
}

// AppendLoss appends the line of a loss, with a line feed.
func AppendLoss(b []byte, l *listener.Loss) []byte {
	return appendRecord(b, struct {
		Type  string `json:"type"`
		What  string `json:"what"`
		Text  string `json:"text"`
		Count uint64 `json:"count"`
	}{"loss", l.What, l.Words(), l.Count})
}

// Summary is the last line of a trace.
type Summary struct {
	Time      time.Time     `json:"time"`
	Mode      string        `json:"mode"`
	Duration  time.Duration `json:"duration_ns"`
	Listeners int           `json:"listeners"`
	Accepts
	CloseWait uint64 `json:"close_wait"`
	Reset     uint64 `json:"reset"`
	Purged    uint64 `json:"purged"`
	Losses    uint64 `json:"losses"`
	*Refusals        // nil: not counted in this mode
}

// Refusals are what a summary says of those that were not let in.
type Refusals struct {
	Overflow     uint64 `json:"overflow"`       // refused connections
	AcceptErrors uint64 `json:"failed_accepts"` // failed calls of accept()
	// Elsewhere are those of AcceptErrors whose listener is not known.
	Elsewhere []listener.AcceptFailures `json:"-"`
}

// AppendSummary appends the line of a summary, with a line feed. wall is the
// time of day of CLOCK_MONOTONIC.
func AppendSummary(b []byte, s Summary, wall func(ns int64) time.Time) []byte {
	s.Time = s.Time.UTC()
	record := struct {
		Type string `json:"type"`
		Summary
		Elsewhere []failureRecord `json:"accept_errors_elsewhere,omitempty"`
	}{Type: "summary", Summary: s}
	if s.Refusals != nil {
		record.Elsewhere = failureRecords(s.Elsewhere, wall)
	}
	return appendRecord(b, record)
}

// appendRecord appends one of the records above, which always encode.
func appendRecord(b []byte, record any) []byte {
	line, err := json.Marshal(record)
	if err != nil {
		panic("encode " + err.Error())
	}
	return append(append(b, line...), '\n')
}
