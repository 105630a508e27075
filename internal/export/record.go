package export

import (
	"encoding/json"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

type ownerRecord struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
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
	Close       uint32  `json:"CLOSE"`
	SynRecv     *uint32 `json:"SYN_RECV,omitempty"`
}

type listenerRecord struct {
	Type          string            `json:"type"`
	Listener      string            `json:"listener,omitempty"`
	NetNS         uint32            `json:"netns,omitempty"`
	Owners        []ownerRecord     `json:"owners,omitempty"`
	Depth         *uint32           `json:"depth,omitempty"`
	Backlog       *uint32           `json:"backlog,omitempty"`
	OldestNS      *time.Duration    `json:"oldest_ns,omitempty"`
	Enqueued      uint64            `json:"enqueued"`
	Accepted      uint64            `json:"accepted"`
	Waits         *waitRecord       `json:"wait_ns,omitempty"`
	CloseWait     uint64            `json:"close_wait"`
	Reset         uint64            `json:"reset"`
	Purged        uint64            `json:"purged"`
	Lost          *uint64           `json:"lost,omitempty"`
	Unaccepted    *unacceptedRecord `json:"unaccepted,omitempty"`
	HeldCloseWait *int              `json:"held_close_wait,omitempty"`
}

// Listener is a row with what is not in events.
type Listener struct {
	Row    *listener.Row
	Owners []owner.Process
	// HeldCloseWait is how many connections were accepted, are in CLOSE_WAIT
	// and still open; nil: nobody has looked.
	HeldCloseWait *int
}

// AppendListener appends the line of a listener, with a line feed.
func AppendListener(b []byte, l *Listener) []byte {
	row := l.Row
	record := listenerRecord{
		Type: "listener", NetNS: row.Key.NetNS,
		Enqueued: row.Enqueued, Accepted: row.Accepted,
		CloseWait: row.CloseWait, Reset: row.Reset, Purged: row.Purged,
		HeldCloseWait: l.HeldCloseWait,
	}
	if row.Key.Addr.IsValid() {
		record.Listener = row.Key.Addr.String()
	}
	for _, p := range l.Owners {
		record.Owners = append(record.Owners, ownerRecord{p.PID, p.Comm})
	}
	if row.Open > 0 {
		record.Depth, record.Backlog = &row.Depth, &row.Backlog
		u := &row.Unaccepted
		record.Unaccepted = &unacceptedRecord{CloseWait: u.CloseWait, Close: u.Close}
		if u.Known && u.NotLooked == 0 {
			record.Unaccepted.Established, record.Unaccepted.SynRecv = &u.Established, &u.SynRecv
		}
	}
	if oldest, known := row.Oldest(); known {
		record.OldestNS = &oldest
	}
	if w := &row.Wait; w.Count > 0 {
		record.Waits = &waitRecord{&w.P50, &w.P90, &w.P99, w.Max}
	} else if w.Max > 0 {
		record.Waits = &waitRecord{Max: w.Max}
	}
	if row.AttachKnown {
		record.Lost = &row.Lost
	}
	return appendRecord(b, record)
}

// AppendLoss appends the line of a loss, with a line feed.
func AppendLoss(b []byte, l *listener.Loss) []byte {
	return appendRecord(b, struct {
		Type  string `json:"type"`
		What  string `json:"what"`
		Text  string `json:"text"`
		Count uint64 `json:"count"`
	}{"loss", l.What, l.Text, l.Count})
}

// Summary is the last line of a trace.
type Summary struct {
	Time      time.Time     `json:"time"`
	Mode      string        `json:"mode"`
	Duration  time.Duration `json:"duration_ns"`
	Listeners int           `json:"listeners"`
	Accepted  uint64        `json:"accepted"`
	CloseWait uint64        `json:"close_wait"`
	Reset     uint64        `json:"reset"`
	Purged    uint64        `json:"purged"`
	Losses    uint64        `json:"losses"`
}

// AppendSummary appends the line of a summary, with a line feed.
func AppendSummary(b []byte, s Summary) []byte {
	s.Time = s.Time.UTC()
	return appendRecord(b, struct {
		Type string `json:"type"`
		Summary
	}{"summary", s})
}

// appendRecord appends one of the records above, which always encode.
func appendRecord(b []byte, record any) []byte {
	line, err := json.Marshal(record)
	if err != nil {
		panic("encode " + err.Error())
	}
	return append(append(b, line...), '\n')
}
