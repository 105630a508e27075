package export

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"acceptwatch/internal/event"
)

const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// AppendEvent appends the line of an event, with a line feed. at is its time by
// the wall clock; listener is the bound address, or the zero value if it is not
// known. It allocates nothing but room in b.
func AppendEvent(b []byte, e *event.Event, at time.Time, listener netip.AddrPort) []byte {
	if !listener.IsValid() {
		listener = e.Local
	}
	hasPeer := e.Peer.IsValid() && e.Peer.Port() != 0
	queued := hasPeer && e.WasQueued()
	b = append(b, `{"type":"event","time":"`...)
	b = appendTime(b, at)
	b = append(b, `","event":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, '"')
	b = appendAddr(b, "listener", listener)
	if hasPeer {
		b = appendAddr(b, "peer", e.Peer)
	}
	if addr := e.Local.Addr(); addr.IsValid() {
		family := "ipv6"
		if addr.Unmap().Is4() {
			family = "ipv4"
		}
		b = appendWord(b, "family", family)
	}
	if wait, known := e.Wait(); known {
		b = appendUint(b, "wait_ns", uint64(wait))
	}
	if e.State != 0 {
		b = appendWord(b, "state", e.State.String())
	}
	if e.DepthKnown() {
		b = appendUint(b, "depth", uint64(e.Depth))
	}
	if queued {
		b = appendUint(b, "depth_at_entry", uint64(e.DepthAtEntry))
	}
	if e.DepthKnown() {
		b = appendUint(b, "backlog", uint64(e.Backlog))
	}
	if queued {
		b = appendUint(b, "unread_bytes", uint64(e.Unread))
	}
	if e.PID != 0 {
		b = appendUint(b, "pid", uint64(e.PID))
		if e.TID != 0 {
			b = appendUint(b, "tid", uint64(e.TID))
		}
		b = appendComm(b, &e.Comm)
	}
	if e.NetNS != 0 {
		b = appendUint(b, "netns", uint64(e.NetNS))
	}
	if e.Cookie != 0 {
		b = appendUint(b, "cookie", e.Cookie)
	}
	if e.Errno != 0 {
		b = appendWord(b, "errno", event.ErrnoName(e.Errno))
	}
	switch e.Kind {
	case event.Overflow:
		b = appendRefusal(b, e)
	case event.AcceptError:
		if e.FD >= 0 {
			b = appendUint(b, "fd", uint64(e.FD))
		}
	}
	if e.Repeats > 0 {
		b = appendUint(b, "repeats", uint64(e.Repeats))
	}
	return append(b, "}\n"...)
}

// appendTime appends a time in timeFormat and in UTC, by a format that
// time.AppendFormat need not read again for each event.
func appendTime(b []byte, at time.Time) []byte {
	b = at.UTC().AppendFormat(b, time.RFC3339)
	b = append(b[:len(b)-1], ".000000000Z"...) // before was a Z
	for i, n := len(b)-2, at.Nanosecond(); n > 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
	return b
}

// appendRefusal appends at what an Overflow was refused, and what its client
// makes of it.
func appendRefusal(b []byte, e *event.Event) []byte {
	refused, client := refusal(e)
	return appendWord(appendWord(b, "refused", refused), "client", client)
}

func refusal(e *event.Event) (refused, client string) {
	switch {
	case e.Flags&event.LastACK == 0:
		return "syn", "no_answer"
	case e.Flags&event.Aborted != 0:
		return "last_ack", "reset"
	}
	return "last_ack", "believes_connected"
}

func appendKey(b []byte, key string) []byte {
	b = append(append(b, `,"`...), key...)
	return append(b, `":`...)
}

func appendUint(b []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(b, key), n, 10)
}

// appendWord appends a value that needs no escaping.
func appendWord(b []byte, key, word string) []byte {
	b = append(appendKey(b, key), '"')
	return append(append(b, word...), '"')
}

func appendAddr(b []byte, key string, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	b = append(appendKey(b, key), '"')
	b = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).AppendTo(b)
	return append(b, '"')
}

// appendComm appends a thread's name, which may be any bytes.
func appendComm(b []byte, c *event.Comm) []byte {
	b = append(appendKey(b, "comm"), '"')
	for name := c[:]; len(name) > 0 && name[0] != 0; {
		r, size := utf8.DecodeRune(name)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
		name = name[size:]
	}
	return append(b, '"')
}
