package export

import (
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/snapshot"
)

// Snapshot is what one look found of a listener, with what is needed to tell it.
type Snapshot struct {
	Queue *snapshot.Queue
	At    time.Time                // of the look
	Wall  func(ns int64) time.Time // from CLOCK_MONOTONIC
}

// queueRecord are the keys of a listener that only a snapshot has.
type queueRecord struct {
	Listeners    *int        `json:"listeners,omitempty"`
	CloseDerived *bool       `json:"close_derived,omitempty"`
	NotLooked    *uint32     `json:"not_looked_at,omitempty"`
	Elsewhere    *uint32     `json:"other_addresses,omitempty"`
	Excess       *uint32     `json:"excess,omitempty"`
	Ages         []ageRecord `json:"ages"`
	AgeUnknown   uint32      `json:"age_unknown"`
	Unread       uint64      `json:"unread_bytes"`
	Dropped      *uint64     `json:"dropped,omitempty"`
	NoneAccepted *time.Time  `json:"none_accepted_since,omitempty"`
	AtMost       *uint32     `json:"accepted_at_most,omitempty"`
	AtMostSince  *time.Time  `json:"accepted_at_most_since,omitempty"`
}

type ageRecord struct {
	Below *time.Duration `json:"below_ns,omitempty"`
	Count uint32         `json:"count"`
}

func (s *Snapshot) fill(record *listenerRecord) {
	q := s.Queue
	at := s.At.UTC()
	record.Time = &at
	more := &queueRecord{Ages: ageRecords(&q.Unaccepted.Ages), AgeUnknown: q.AgeUnknown, Unread: q.Unread}
	if q.Open > 1 {
		more.Listeners = &q.Open
	}
	if q.Derived {
		more.CloseDerived = &q.Derived
	}
	if q.Unaccepted.NotLooked > 0 {
		more.NotLooked = &q.Unaccepted.NotLooked
	}
	if q.Elsewhere > 0 {
		more.Elsewhere = &q.Elsewhere
	}
	if q.Excess > 0 {
		more.Excess = &q.Excess
	}
	if q.DropsKnown {
		more.Dropped = &q.Drops
	}
	if q.Accepts.NoneSince != 0 {
		since := s.Wall(q.Accepts.NoneSince).UTC()
		more.NoneAccepted = &since
	}
	if q.Accepts.Known {
		since := s.Wall(q.Accepts.Since).UTC()
		more.AtMost, more.AtMostSince = &q.Accepts.AtMost, &since
	}
	record.queueRecord = more
}

func ageRecords(ages *listener.Ages) []ageRecord {
	bounds := listener.AgeBounds()
	list := make([]ageRecord, len(ages))
	for i, n := range ages {
		list[i].Count = n
		if i < len(bounds) {
			list[i].Below = &bounds[i]
		}
	}
	return list
}

// AppendConnection appends the line of an entry of a queue, with a line feed: an
// event of kind Queued, seen by a look at that time.
func AppendConnection(b []byte, e *event.Event, q *snapshot.Queue, at time.Time) []byte {
	b = append(b, `{"type":"connection","time":"`...)
	b = appendTime(b, at)
	b = append(b, '"')
	b = appendAddr(b, "listener", q.Key.Addr)
	b = appendAddr(b, "local", e.Local)
	if e.Peer.Port() != 0 {
		b = appendAddr(b, "peer", e.Peer)
	}
	if age, known := e.Wait(); known {
		b = appendUint(b, "age_ns", uint64(age))
	}
	b = appendWord(b, "state", e.State.String())
	if e.Unread > 0 || e.Flags&event.MPTCP == 0 {
		b = appendUint(b, "unread_bytes", uint64(e.Unread))
	}
	if e.NetNS != 0 {
		b = appendUint(b, "netns", uint64(e.NetNS))
	}
	if e.Cookie != 0 {
		b = appendUint(b, "cookie", e.Cookie)
	}
	return append(b, "}\n"...)
}

// SnapshotSummary is the last line of a look.
type SnapshotSummary struct {
	Time          time.Time     `json:"time"`
	Mode          string        `json:"mode"`
	Duration      time.Duration `json:"duration_ns"` // that it took
	Listeners     int           `json:"listeners"`
	Depth         uint64        `json:"depth"` // of all queues
	Dead          uint64        `json:"dead"`  // of these in CLOSE_WAIT or CLOSE
	HeldCloseWait *int          `json:"held_close_wait,omitempty"`
	Losses        uint64        `json:"losses"`
}

// AppendSnapshotSummary appends the line, with a line feed.
func AppendSnapshotSummary(b []byte, s SnapshotSummary) []byte {
	s.Time = s.Time.UTC()
	return appendRecord(b, struct {
		Type string `json:"type"`
		SnapshotSummary
	}{"summary", s})
}
