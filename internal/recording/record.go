package recording

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
)

// recordType is what a record is called in the file. Readers skip the types
// that they do not know.
type recordType uint64

const (
	recordSample recordType = 1
	recordMark   recordType = 2
	recordClock  recordType = 3
	recordOwners recordType = 4
	recordLosses recordType = 5
	recordPart   recordType = 6 // of a record that is too long for one
	recordWhy    recordType = 7 // 1.1
)

// Kind says which field of a Record is set.
type Kind uint8

const (
	// KindEvent: Event.
	KindEvent Kind = iota + 1
	// KindSample: Sample and Waits.
	KindSample
	// KindMark: Mark.
	KindMark
	// KindClock: Clock.
	KindClock
	// KindOwners: Owners.
	KindOwners
	// KindLosses: Losses.
	KindLosses
	// KindEvidence: Evidence.
	KindEvidence
	// KindHeader: Header. Another trace follows in the same stream; its clocks
	// and counts have nothing to do with those before.
	KindHeader
	// KindDamage: Damage. What comes next is not what came next when it was
	// written.
	KindDamage
)

// Record is one thing in a trace. What it points to is valid until the next
// call of Next, but for Sample, Owners, Evidence, Header, Losses and Damage, which
// the caller may keep and must not change: samples share histograms.
type Record struct {
	Kind   Kind
	Event  *event.Event
	Sample *listener.Sample
	Waits  bool // the sample was asked for with histograms
	Mark   Mark
	Clock  Clock
	Owners *Owners
	// Evidence is of why connections were not accepted.
	Evidence *diagnose.Evidence
	Losses   []listener.Loss
	Header   *Header
	Damage   *CorruptError
}

// Time is when a record was made, in ns of CLOCK_MONOTONIC, of those that come in
// the order of their times; false: it is none of these.
func (r *Record) Time() (at int64, ok bool) {
	switch r.Kind {
	case KindEvent:
		return r.Event.Time, true
	case KindSample:
		return r.Sample.Time, true
	case KindMark:
		return r.Mark.Time, true
	}
	return 0, false
}

// Mark is something that whoever recorded did between events and samples, and
// that must be done again at the same place to replay it.
type Mark struct {
	Kind MarkKind
	Time int64 // ns, CLOCK_MONOTONIC
}

// MarkKind says what was done. Others than these may come of a later version.
type MarkKind uint8

const (
	MarkWalk  MarkKind = 1 // the contents of all queues were asked for
	MarkRead  MarkKind = 2 // everything that was pending had been read
	MarkReady MarkKind = 3 // everything that was there at attach had been looked at
	MarkEnd   MarkKind = 4 // the recording was ended
)

// Clock maps the clock of events to the time of day, as it was then: somebody
// may set the latter at any time.
type Clock struct {
	Monotonic int64 `json:"monotonic_ns"` // ns, CLOCK_MONOTONIC
	Wall      int64 `json:"wall_ns"`      // ns since 1970, CLOCK_REALTIME
}

// At is the time of day at a time of CLOCK_MONOTONIC, in ns.
func (c Clock) At(monotonic int64) time.Time {
	return time.Unix(0, c.Wall+(monotonic-c.Monotonic)).UTC()
}

// Header is what a trace says of itself at its beginning.
type Header struct {
	Tool     string            `json:"tool,omitempty"`     // version of the program that wrote it
	Host     string            `json:"host,omitempty"`     // name
	Kernel   string            `json:"kernel,omitempty"`   // release
	BootID   string            `json:"boot_id,omitempty"`  // without it, monotonic times of two traces cannot be compared
	Start    int64             `json:"start_ns,omitempty"` // ns, CLOCK_MONOTONIC: counting began
	Clock    Clock             `json:"clock"`              // when the trace, or this part of it, was begun
	Mode     string            `json:"mode,omitempty"`     // "fentry"
	Why      string            `json:"why,omitempty"`      // why this mode, in words
	Limits   []string          `json:"limits,omitempty"`   // what it cannot see, a sentence each
	Filter   string            `json:"filter,omitempty"`   // what was selected, in words
	Settings map[string]string `json:"settings,omitempty"` // those of the recording command that a replay needs
	NetNS    uint32            `json:"netns,omitempty"`    // inode of the recorder's own network namespace
	Part     int               `json:"part,omitempty"`     // of a rotated recording, from 1; 0: it is whole
}

// SettingFlight is the name of a setting that only dumps of a flight recorder
// have: how much of the past was kept.
const SettingFlight = "flight"

// SettingFilter is the name of the setting that says what was selected, as the JSON
// of a filter.Filter.
const SettingFilter = "filter"

// SettingStallAfter is the name of the setting that says from which length on a
// stall counted, as a Go duration.
const SettingStallAfter = "stall_after"

// Partial says that the trace begins in the middle of what its samples count: it
// is the dump of a flight recorder, or a later part of a rotated recording.
func (h *Header) Partial() bool { return h.Settings[SettingFlight] != "" || h.Part > 1 }

// Column describes a column of events, for whoever reads a trace without this
// program.
type Column struct {
	ID    int    `json:"id"`
	Table string `json:"table"`
	Name  string `json:"name"`
	Code  string `json:"code,omitempty"` // how the numbers are to be understood; empty: as they are
}

// fileHeader is a header as it is written.
type fileHeader struct {
	Format string `json:"format"`
	Major  int    `json:"major"`
	Minor  int    `json:"minor"`
	Header
	Schema []Column `json:"schema"`
}

const formatName = "acceptwatch trace"

// Owners is who had what open at one moment. Long lists come in several
// records, of which all but the last have More set.
type Owners struct {
	Time int64 `json:"time_ns"` // ns, CLOCK_MONOTONIC
	// Listening are the processes that hold listening sockets, Held those that
	// hold accepted connections in CLOSE_WAIT.
	Listening []Owner `json:"listening,omitempty"`
	Held      []Held  `json:"held,omitempty"`
	HeldKnown bool    `json:"held_known,omitempty"` // somebody looked for the latter
	Scan      *Scan   `json:"scan,omitempty"`       // what the search covered; nil: there was none
	// Missing are the errors met on the way, in words.
	Missing []string `json:"missing,omitempty"`
	More    bool     `json:"more,omitempty"`
}

// Owner is a process that holds a socket.
type Owner struct {
	Inode     uint32   `json:"inode,omitempty"` // of the socket
	PID       int      `json:"pid"`
	Comm      string   `json:"comm,omitempty"`
	FDs       []int    `json:"fds,omitempty"`
	StartTime uint64   `json:"start_time,omitempty"` // clock ticks since boot
	Exe       string   `json:"exe,omitempty"`        // path of the program; since 1.1
	Command   string   `json:"command,omitempty"`    // with its arguments; since 1.1
	Container string   `json:"container,omitempty"`
	Runtime   string   `json:"runtime,omitempty"` // of containers: "docker"; since 1.1
	Pod       string   `json:"pod,omitempty"`     // uid of the Kubernetes pod; since 1.1
	Unit      string   `json:"unit,omitempty"`    // of systemd
	Cgroup    string   `json:"cgroup,omitempty"`
	Threads   []string `json:"threads,omitempty"` // what its threads are doing, in words
}

// Process is the owner in the words of package owner.
func (o *Owner) Process() owner.Process {
	return owner.Process{
		PID: o.PID, Comm: o.Comm, FDs: o.FDs, StartTime: o.StartTime,
		Identity: owner.Identity{
			Exe: o.Exe, Command: o.Command, Cgroup: o.Cgroup,
			Place: owner.Place{Container: o.Container, Runtime: o.Runtime, Pod: o.Pod, Unit: o.Unit},
		},
	}
}

// Held is an accepted connection in CLOSE_WAIT that is still open.
type Held struct {
	NetNS   uint32  `json:"netns,omitempty"`
	Local   string  `json:"local"` // addr:port or [v6]:port
	Peer    string  `json:"peer,omitempty"`
	Ifindex uint32  `json:"ifindex,omitempty"`
	Inode   uint32  `json:"inode,omitempty"`
	Unread  uint32  `json:"unread,omitempty"` // bytes received and not read
	Owners  []Owner `json:"owners,omitempty"`
}

// Scan is what a search for owners covered.
type Scan struct {
	Processes  int    `json:"processes"`
	FDs        int    `json:"fds"`
	Denied     int    `json:"denied,omitempty"` // for want of permission
	Failed     int    `json:"failed,omitempty"`
	FirstError string `json:"first_error,omitempty"`
	EvenRoot   bool   `json:"even_root,omitempty"` // denied to root, too
}

func appendMark(b []byte, m Mark) []byte {
	b = binary.AppendUvarint(b, uint64(m.Kind))
	return binary.AppendUvarint(b, zigzag(m.Time))
}

func parseMark(b []byte) (m Mark, ok bool) {
	f := fields{b: b}
	m = Mark{Kind: MarkKind(f.uvarint()), Time: f.varint()}
	return m, !f.bad
}

func appendClock(b []byte, c Clock) []byte {
	b = binary.AppendUvarint(b, zigzag(c.Monotonic))
	return binary.AppendUvarint(b, zigzag(c.Wall))
}

func parseClock(b []byte) (c Clock, ok bool) {
	f := fields{b: b}
	c = Clock{Monotonic: f.varint(), Wall: f.varint()}
	return c, !f.bad
}

// Bounds of a record of owners, which in JSON can ask for much by few bytes.
const (
	maxOwners  = 4 << 20 // bytes
	maxObjects = 1 << 18
)

func parseOwners(b []byte) (*Owners, bool) {
	var o Owners
	if len(b) > maxOwners || bytes.Count(b, []byte("{")) > maxObjects || json.Unmarshal(b, &o) != nil {
		return nil, false
	}
	return &o, true
}

// maxEvidence bounds a record of evidence, in bytes.
const maxEvidence = 4 << 20

func parseEvidence(b []byte) (*diagnose.Evidence, bool) {
	var e diagnose.Evidence
	if len(b) > maxEvidence || bytes.Count(b, []byte("{")) > maxObjects || json.Unmarshal(b, &e) != nil {
		return nil, false
	}
	return &e, true
}

// mostListed is how many entries of a list go into one record of owners.
const mostListed = 1024

// split cuts long lists into several.
func (o *Owners) split() []Owners {
	var list []Owners
	rest := *o
	for {
		part := rest
		part.Listening = rest.Listening[:min(len(rest.Listening), mostListed)]
		part.Held = rest.Held[:min(len(rest.Held), mostListed)]
		rest.Listening, rest.Held = rest.Listening[len(part.Listening):], rest.Held[len(part.Held):]
		part.More = len(rest.Listening)+len(rest.Held) > 0
		list = append(list, part)
		if !part.More {
			return list
		}
	}
}
