package top

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/ui"
)

const (
	second = int64(time.Second)
	netns  = 4026531840
	began  = 1000 * second // on the clock of events
)

// host is a made-up machine, second by second: an API whose only worker gets
// stuck after a minute, a proxy that is busy, a server without descriptors, and
// others that are idle.
type host struct {
	m     *Model
	rows  []listener.Row
	waits []listener.Histogram
	own   [][]owner.Process
	now   int64 // s
}

const (
	api = iota
	proxy
	leaky
	database
	idle
	listeners
)

func wall(ns int64) time.Time {
	return time.Date(2024, 5, 17, 14, 0, 0, 0, time.UTC).Add(time.Duration(ns - began))
}

func about() About {
	return About{Mode: "fentry", Filter: "everything", NetNS: netns, Refusals: true, Wall: wall}
}

func process(pid int, name string, at owner.Place) []owner.Process {
	return []owner.Process{{PID: pid, Comm: name, Identity: owner.Identity{Place: at}}}
}

func comm(name string) (c event.Comm) {
	copy(c[:], name)
	return c
}

func newHost(width, height int, opt Options, a About) *host {
	h := &host{m: New(opt), rows: make([]listener.Row, listeners), waits: make([]listener.Histogram, listeners)}
	h.own = [][]owner.Process{
		process(133, "gunicorn", owner.Place{Unit: "api.service"}),
		append(process(20, "nginx", owner.Place{Container: "0123456789abcdef", Runtime: "docker"}), owner.Process{PID: 21, Comm: "nginx"}),
		process(77, "node", owner.Place{}),
		process(5, "postgres", owner.Place{Unit: "postgresql.service"}),
		nil,
	}
	for i, addr := range []string{"127.0.0.1:8000", "0.0.0.0:443", "10.20.30.40:3000", "[2001:db8:1234:5678:9abc:def0:1234:5678]:5432", "[::]:22"} {
		h.rows[i] = listener.Row{
			Key: listener.Key{NetNS: netns, Addr: netip.MustParseAddrPort(addr)}, ID: uint64(i + 1), Open: 1, Backlog: 128, AttachKnown: true,
			Sampled: a.Mode == listener.Restricted,
		}
	}
	h.rows[api].Backlog = 16
	h.m.Begin(a)
	h.m.Resize(width, height)
	return h
}

// until goes on to a second.
func (h *host) until(second int64, losses ...listener.Loss) *host {
	for ; h.now <= second; h.now++ {
		h.second(losses)
	}
	return h
}

func (h *host) at(s int64) int64 { return began + s*second }

func (h *host) second(losses []listener.Loss) {
	s := h.now
	now := h.at(s)
	h.accepts(proxy, 400+uint64(s%7)*10, time.Millisecond)
	h.rows[proxy].Depth = uint32(s % 3)
	h.accepts(database, 1, 300*time.Microsecond)
	if s < 60 {
		h.accepts(api, 5, 20*time.Millisecond)
	} else {
		h.stuck(s)
	}
	if s >= 100 {
		r := &h.rows[leaky]
		r.Depth = uint32(min(s-99, 5))
		r.OldestQueued = h.at(100)
		if s >= 130 {
			r.AcceptErrors = []listener.AcceptFailures{{PID: 77, Comm: comm("node"), Errno: 24, Count: uint64(s-129) * 1000, Last: now}}
		}
	}
	var all []ui.Listener
	for i := range h.rows {
		r := h.rows[i]
		r.Time = now
		all = append(all, ui.Listener{Row: r, Owners: h.own[i]})
	}
	// The worst first, as a table gives them.
	slices.SortStableFunc(all, func(a, b ui.Listener) int {
		return cmp.Or(cmp.Compare(b.StalledSince, a.StalledSince), cmp.Compare(len(b.AcceptErrors), len(a.AcceptErrors)))
	})
	h.m.Take(&State{Time: now, Listeners: all, Losses: losses})
}

func (h *host) accepts(i int, n uint64, wait time.Duration) {
	w := &h.waits[i]
	r := &h.rows[i]
	seen := n
	if r.Sampled && i == proxy {
		seen = 1 // the others come and go between two looks
	}
	for k := n - seen; k < n; k++ {
		w.Add(wait + time.Duration(k)*wait/10)
	}
	r.Seen += seen
	r.Enqueued += n
	r.Accepted += n
	most, _ := w.Max()
	r.Wait = listener.Waits{Count: w.Count(), P50: w.Quantile(0.5), P90: w.Quantile(0.9), P99: w.Quantile(0.99), Max: most, Histogram: w.Clone()}
	r.LastAccept = h.at(h.now)
	l := h.line(i, event.Accepted, h.at(h.now), 0)
	l.PID, l.TID, l.Comm = uint32(h.own[i][0].PID), uint32(h.own[i][0].PID), comm(h.own[i][0].Comm)
	if i == proxy && h.now%2 == 0 {
		l.PID, l.TID = 21, 21
	}
	h.m.Happened(l)
}

func (h *host) line(i int, kind event.Kind, at int64, port uint16) *ui.Line {
	e := &event.Event{Kind: kind, Time: at, NetNS: netns, Local: h.rows[i].Key.Addr, Family: 2, ListenerID: h.rows[i].ID,
		Depth: h.rows[i].Depth, Backlog: h.rows[i].Backlog, State: event.Established}
	if port != 0 {
		e.Peer = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), port)
	}
	return &ui.Line{Event: e, Listener: h.rows[i].Key.Addr}
}

// stuck is the API without its worker: a client comes every other second, and
// every third one of them gives up.
func (h *host) stuck(s int64) {
	r := &h.rows[api]
	now := h.at(s)
	if s%2 == 0 && r.Depth <= r.Backlog {
		r.Depth++
		r.Enqueued++
		r.Unaccepted.Known = true
		r.Unaccepted.Established++
	}
	r.OldestQueued = h.at(60)
	if s%6 == 5 && r.Unaccepted.Established > 0 {
		r.Unaccepted.Established--
		r.Unaccepted.CloseWait++
		r.CloseWait++
		l := h.line(api, event.CloseWait, now, uint16(40000+s-3))
		l.Queued, l.State, l.ListenerID = now-3*second, event.CloseWaited, 0
		h.m.Happened(l)
	}
	if s == 62 {
		r.StalledSince, r.Stalls = h.at(60), 1
		l := h.line(api, event.Stall, now, 0)
		l.Queued = h.at(60)
		l.LastAccept = ui.LastAccept{Time: h.at(59), PID: 133, TID: 133, Comm: comm("gunicorn")}
		h.m.Happened(l)
	}
	if r.StalledSince != 0 {
		r.Stalled = time.Duration(now - r.StalledSince)
	}
	if s == 65 {
		h.m.Diagnosed(stuckInBackend(now))
	}
	if r.Depth > r.Backlog {
		r.OverflowSYN++
		r.LastOverflow = now
		h.m.Happened(h.line(api, event.Overflow, now, uint16(50000+s%3)))
	}
	h.walk(s)
}

func stuckInBackend(at int64) *ui.Diagnosis {
	return &ui.Diagnosis{
		Evidence: &diagnose.Evidence{Time: at, Span: 3 * time.Second, Listener: "127.0.0.1:8000", NetNS: netns, Mode: "fentry",
			Processes: []diagnose.Process{{PID: 133, Comm: "gunicorn", Unit: "api.service"}}},
		Verdicts: []diagnose.Verdict{{
			Cause: diagnose.Downstream, Confidence: diagnose.High,
			Summary:  "gunicorn[133] waits for another server: 127.0.0.1:5432",
			Evidence: []string{"3 of 16+1 places taken, the oldest for 5.0 s, none accepted in 3.0 s"},
			Refute:   "that server answers quickly to others", Do: "look at the other server first",
		}},
	}
}

// walk tells of the first ten that wait.
func (h *host) walk(s int64) {
	r := &h.rows[api]
	e := h.line(api, event.Listener, h.at(s), 0).Event
	h.m.Walked(e)
	for i := range int64(min(r.Depth, 10)) {
		q := *e
		q.Kind, q.Queued, q.Peer = event.Queued, h.at(60+2*i), netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), uint16(40060+2*i))
		q.Unread = 77 * uint32(i)
		if i%3 == 1 {
			q.State = event.CloseWaited
		}
		h.m.Walked(&q)
	}
}
