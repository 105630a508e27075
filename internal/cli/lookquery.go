package cli

import (
	"net/netip"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/sockdiag"
)

// mostPorts is how many ports a query names: the kernel compares each socket
// with each of them.
const mostPorts = 64

// queuedStates are those of what may be queued.
var queuedStates = sockdiag.States(sockdiag.Established, sockdiag.CloseWait, sockdiag.SynRecv)

// listenQuery selects listeners.
var listenQuery = sockdiag.Query{States: sockdiag.States(sockdiag.Listen)}

// wanted says which connections to a listener at all addresses are asked for;
// nil: all. Ports are the listener's: what was steered to it came to another.
func (o *snapshotOptions) wanted() func(netns uint32, local netip.AddrPort) bool {
	if !o.filter.Addr.IsValid() && o.filter.Family == filter.AnyFamily {
		return nil
	}
	places := filter.Filter{Addr: o.filter.Addr, Family: o.filter.Family}
	return places.Match
}

// contentQueries select what may be queued, and what is held in CLOSE_WAIT: each
// socket once. Where nothing is queued, ESTABLISHED need not be listed.
func contentQueries(listeners []hostSocket) []sockdiag.Query {
	busy, idle := make(map[uint16]bool), make(map[uint16]bool)
	for i := range listeners {
		if depth, _ := listeners[i].Depth(); depth > 0 {
			busy[listeners[i].Local.Port()] = true
		}
	}
	for i := range listeners {
		if port := listeners[i].Local.Port(); !busy[port] {
			idle[port] = true
		}
	}
	switch {
	case len(busy) == 0:
		return []sockdiag.Query{heldQuery(listeners)}
	case len(busy) > mostPorts:
		return []sockdiag.Query{{States: queuedStates, Ext: sockdiag.ExtInfo}}
	case len(idle) > mostPorts: // those of CLOSE_WAIT are few
		return []sockdiag.Query{
			{States: queuedStates &^ sockdiag.States(sockdiag.CloseWait), Ext: sockdiag.ExtInfo, Ports: portRanges(busy)},
			heldQuery(listeners),
		}
	}
	queries := []sockdiag.Query{{States: queuedStates, Ext: sockdiag.ExtInfo, Ports: portRanges(busy)}}
	if len(idle) > 0 {
		queries = append(queries, sockdiag.Query{
			States: sockdiag.States(sockdiag.CloseWait), Ext: sockdiag.ExtInfo, Ports: portRanges(idle)})
	}
	return queries
}

// heldQuery selects what is in CLOSE_WAIT at the ports of listeners.
func heldQuery(listeners []hostSocket) sockdiag.Query {
	q := sockdiag.Query{States: sockdiag.States(sockdiag.CloseWait), Ext: sockdiag.ExtInfo}
	ports := make(map[uint16]bool)
	for i := range listeners {
		ports[listeners[i].Local.Port()] = true
	}
	if len(ports) <= mostPorts {
		q.Ports = portRanges(ports)
	}
	return q
}

func portRanges(ports map[uint16]bool) []sockdiag.PortRange {
	list := make([]sockdiag.PortRange, 0, len(ports))
	for port := range ports {
		list = append(list, sockdiag.PortRange{Low: port, High: port})
	}
	return list
}

// queuedEvent is an entry of a queue as sock_diag tells of it, at a time.
func queuedEvent(s *hostSocket, at int64) event.Event {
	e := event.Event{
		Kind: event.Queued, Time: at, Local: s.LocalUnmapped(), Peer: s.RemoteUnmapped(), NetNS: s.NetNS,
		Ifindex: s.Ifindex, Family: s.Family, State: event.State(s.State), Cookie: s.Cookie,
	}
	e.Unread, _ = s.UnreadBytes()
	if s.MPTCP {
		e.Flags |= event.MPTCP
	}
	if s.HasInfo && s.State != sockdiag.SynRecv { // whose clock has not started
		e.Queued = at - int64(s.LastDataSent)
	}
	return e
}

// listenerEvent is a listener as sock_diag tells of it, at a time.
func listenerEvent(s *hostSocket, at int64) event.Event {
	e := event.Event{
		Kind: event.Listener, Time: at, ListenerID: s.Cookie, Local: s.Local, NetNS: s.NetNS, Ifindex: s.Ifindex,
		Family: s.Family, State: event.Listening, Inode: s.Inode,
	}
	e.Depth, _ = s.Depth()
	e.Backlog, _ = s.Backlog()
	if s.V6Only == sockdiag.V6OnlyYes {
		e.Flags |= event.V6Only
	}
	return e
}
