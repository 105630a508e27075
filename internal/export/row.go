package export

import (
	"net/netip"
	"strings"
	"time"

	"acceptwatch/internal/event"
)

// EventRow is an event as a row of a table, with the names and meanings of the
// keys of JSON Lines; addresses are split from their ports. Nil is what is not
// known. Times and waits are in ns, unread_bytes in bytes.
type EventRow struct {
	Time         int64   `parquet:"time,timestamp(nanosecond)"` // ns since 1970
	Event        string  `parquet:"event,dict"`
	Listener     *string `parquet:"listener,dict"`
	ListenerPort *int32  `parquet:"listener_port"`
	Peer         *string `parquet:"peer"`
	PeerPort     *int32  `parquet:"peer_port"`
	Family       *string `parquet:"family,dict"`
	WaitNS       *int64  `parquet:"wait_ns"`
	State        *string `parquet:"state,dict"`
	Depth        *int64  `parquet:"depth"`
	DepthAtEntry *int64  `parquet:"depth_at_entry"`
	Backlog      *int64  `parquet:"backlog"`
	UnreadBytes  *int64  `parquet:"unread_bytes"`
	PID          *int64  `parquet:"pid"`
	TID          *int64  `parquet:"tid"`
	Comm         *string `parquet:"comm,dict"`
	NetNS        *int64  `parquet:"netns"`
	Cookie       *uint64 `parquet:"cookie"`
	Errno        *string `parquet:"errno,dict"`
	Refused      *string `parquet:"refused,dict"`
	Client       *string `parquet:"client,dict"`
	FD           *int32  `parquet:"fd"`
	Repeats      *int64  `parquet:"repeats"`
}

// RowOf is the row of an event; the arguments are those of AppendEvent.
func RowOf(e *event.Event, at time.Time, listener netip.AddrPort) EventRow {
	if !listener.IsValid() {
		listener = e.Local
	}
	hasPeer := e.Peer.IsValid() && e.Peer.Port() != 0
	queued := hasPeer && e.WasQueued()
	r := EventRow{Time: at.UnixNano(), Event: e.Kind.String()}
	r.Listener, r.ListenerPort = ends(listener, listener.IsValid())
	r.Peer, r.PeerPort = ends(e.Peer, hasPeer)
	if addr := e.Local.Addr(); addr.IsValid() {
		r.Family = known("ipv6", true)
		if addr.Unmap().Is4() {
			r.Family = known("ipv4", true)
		}
	}
	wait, waited := e.Wait()
	r.WaitNS = known(int64(wait), waited)
	r.State = known(e.State.String(), e.State != 0)
	r.Depth, r.Backlog = known(int64(e.Depth), e.DepthKnown()), known(int64(e.Backlog), e.DepthKnown())
	r.DepthAtEntry, r.UnreadBytes = known(int64(e.DepthAtEntry), queued), known(int64(e.Unread), queued)
	r.PID, r.TID = known(int64(e.PID), e.PID != 0), known(int64(e.TID), e.PID != 0 && e.TID != 0)
	r.Comm = known(strings.ToValidUTF8(e.Comm.String(), "\ufffd"), e.PID != 0)
	r.NetNS, r.Cookie = known(int64(e.NetNS), e.NetNS != 0), known(e.Cookie, e.Cookie != 0)
	r.Errno = known(event.ErrnoName(e.Errno), e.Errno != 0)
	if e.Kind == event.Overflow {
		refused, client := refusal(e)
		r.Refused, r.Client = &refused, &client
	}
	r.FD = known(e.FD, e.Kind == event.AcceptError && e.FD >= 0)
	r.Repeats = known(int64(e.Repeats), e.Repeats > 0)
	return r
}

func known[T any](v T, is bool) *T {
	if !is {
		return nil
	}
	return &v
}

func ends(a netip.AddrPort, is bool) (addr *string, port *int32) {
	if !is {
		return nil, nil
	}
	return known(a.Addr().Unmap().WithZone("").String(), true), known(int32(a.Port()), true)
}
