package export

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/event"
)

// Perfetto writes a trace in Chrome's JSON format ("Trace Event Format"), which
// ui.perfetto.dev and chrome://tracing show: a track for each listener, with its
// stalls as slices and what went wrong as instants; a counter of its depth; and
// the time that each connection was queued. Times are in µs since the beginning.
type Perfetto struct {
	out    *bufio.Writer
	err    error
	first  bool
	base   int64 // ns since 1970: ts 0
	last   int64 // ns since 1970: the latest time met
	tracks map[place]*track
	id     uint64 // of the last connection
}

type place struct {
	netns uint32
	addr  netip.AddrPort
}

type track struct {
	tid     int
	name    string
	depth   uint32
	counted bool
	stalled int64 // ns since 1970: since; 0: not stalled
}

// chrome is an event of the format. Absent fields are left out.
type chrome struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	Time  *micros        `json:"ts,omitempty"`
	Dur   *micros        `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid,omitempty"`
	Cat   string         `json:"cat,omitempty"`
	ID    string         `json:"id,omitempty"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// micros are ns that are written as µs.
type micros int64

// MarshalJSON writes µs with three decimals.
func (m micros) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d.%03d", int64(m)/1000, int64(m)%1000), nil
}

const pid = 1

// NewPerfetto begins a trace of a host, at a time that is ts 0.
func NewPerfetto(w io.Writer, host string, began time.Time) *Perfetto {
	p := &Perfetto{out: bufio.NewWriter(w), first: true, base: began.UnixNano(), tracks: make(map[place]*track)}
	p.last = p.base
	head, err := json.Marshal(map[string]string{"began": began.UTC().Format(timeFormat), "host": host})
	p.keep(err)
	p.text(`{"displayTimeUnit":"ms","otherData":` + string(head) + `,"traceEvents":[`)
	name := "accept queues"
	if host != "" {
		name += " of " + host
	}
	p.emit(chrome{Name: "process_name", Phase: "M", PID: pid, Args: map[string]any{"name": name}})
	return p
}

func (p *Perfetto) keep(err error) {
	if p.err == nil && err != nil {
		p.err = fmt.Errorf("write trace: %w", err)
	}
}

func (p *Perfetto) text(s string) {
	if p.err == nil {
		_, err := p.out.WriteString(s)
		p.keep(err)
	}
}

func (p *Perfetto) emit(c chrome) {
	line, err := json.Marshal(&c)
	p.keep(err)
	separator := ",\n"
	if p.first {
		separator = "\n"
	}
	p.first = false
	p.text(separator + string(line))
}

// at is a time as ts; what was before the beginning is at 0.
func (p *Perfetto) at(ns int64) *micros {
	m := micros(max(0, ns-p.base))
	return &m
}

func (p *Perfetto) track(netns uint32, addr netip.AddrPort) *track {
	key := place{netns, addr}
	t := p.tracks[key]
	if t == nil {
		t = &track{tid: len(p.tracks) + 1, name: "not known"}
		if addr.IsValid() {
			t.name = netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()).String()
		}
		for other := range p.tracks {
			if other.addr == addr { // the same in another network namespace
				t.name += fmt.Sprintf(" net:[%d]", netns)
				break
			}
		}
		p.tracks[key] = t
		p.emit(chrome{Name: "thread_name", Phase: "M", PID: pid, TID: t.tid, Args: map[string]any{"name": t.name}})
	}
	return t
}

// Event writes an event; the arguments are those of AppendEvent.
func (p *Perfetto) Event(e *event.Event, at time.Time, listener netip.AddrPort) error {
	if !listener.IsValid() {
		listener = e.Local
	}
	now := at.UnixNano()
	p.last = max(p.last, now)
	t := p.track(e.NetNS, listener)
	if e.DepthKnown() && e.Kind != event.ListenerClosed {
		p.depth(t, now, e.Depth)
	}
	wait, waited := e.Wait()
	switch e.Kind {
	case event.Stall:
		t.stalled = now - int64(wait)
		return p.err
	case event.StallEnd:
		t.stalled = 0
		p.stall(t, now-int64(wait), now, map[string]any{"ended_by": e.Ended.String()})
		return p.err
	case event.Accepted, event.Purged:
		if waited {
			p.connection(t, e, now, wait)
		}
		if e.Kind == event.Accepted && !e.State.Dead() {
			return p.err
		}
	}
	name := e.Kind.String()
	if e.Kind == event.Accepted {
		name = "accepted dead"
	}
	p.emit(chrome{Name: name, Phase: "i", Time: p.at(now), PID: pid, TID: t.tid, Scope: "t", Args: arguments(e)})
	return p.err
}

// connection is the time in the queue of one that has left it.
func (p *Perfetto) connection(t *track, e *event.Event, now int64, wait time.Duration) {
	p.id++
	c := chrome{
		Name: "queued at " + t.name, Phase: "b", Time: p.at(now - int64(wait)), PID: pid, TID: t.tid,
		Cat: "connection", ID: fmt.Sprintf("0x%x", p.id), Args: arguments(e),
	}
	p.emit(c)
	c.Phase, c.Time, c.Args = "e", p.at(now), nil
	p.emit(c)
}

func (p *Perfetto) stall(t *track, from, to int64, args map[string]any) {
	dur := micros(max(0, to-max(from, p.base)))
	p.emit(chrome{Name: "stall", Phase: "X", Time: p.at(from), Dur: &dur, PID: pid, TID: t.tid, Cat: "stall", Args: args})
}

func arguments(e *event.Event) map[string]any {
	args := map[string]any{"event": e.Kind.String()}
	if e.Peer.IsValid() && e.Peer.Port() != 0 {
		args["peer"] = netip.AddrPortFrom(e.Peer.Addr().Unmap().WithZone(""), e.Peer.Port()).String()
	}
	if wait, known := e.Wait(); known {
		args["wait_ns"] = int64(wait)
	}
	if e.State != 0 {
		args["state"] = e.State.String()
	}
	if e.Errno != 0 {
		args["errno"] = event.ErrnoName(e.Errno)
	}
	if e.PID != 0 {
		args["pid"], args["tid"], args["comm"] = e.PID, e.TID, e.Comm.String()
	}
	if e.Repeats > 0 {
		args["repeats"] = e.Repeats
	}
	return args
}

// Depth writes how many connections are in the queue of a listener, or in those
// of a group.
func (p *Perfetto) Depth(at time.Time, netns uint32, listener netip.AddrPort, depth uint32) error {
	now := at.UnixNano()
	p.last = max(p.last, now)
	p.depth(p.track(netns, listener), now, depth)
	return p.err
}

func (p *Perfetto) depth(t *track, now int64, depth uint32) {
	if t.counted && t.depth == depth {
		return
	}
	t.counted, t.depth = true, depth
	p.emit(chrome{Name: "depth " + t.name, Phase: "C", Time: p.at(now), PID: pid, Args: map[string]any{"connections": depth}})
}

// Close writes the stalls that go on, and the end.
func (p *Perfetto) Close() error {
	var all []*track
	for _, t := range p.tracks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *track) int { return cmp.Compare(a.tid, b.tid) })
	for _, t := range all {
		if t.stalled != 0 {
			p.stall(t, t.stalled, p.last, map[string]any{"ended_by": "nothing yet"})
		}
	}
	p.text("\n]}\n")
	if p.err == nil {
		p.keep(p.out.Flush())
	}
	return p.err
}
