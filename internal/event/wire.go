package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// Size is the length of one event on the wire: struct event of bpf/events.h.
const Size = 128

// Address families, as the kernel numbers them (include/linux/socket.h).
const (
	afINET  = 2
	afINET6 = 10
)

// Errors that Decode wraps: what was wrong is in the message.
var (
	ErrShort  = errors.New("event is cut short")
	ErrKind   = errors.New("unknown event kind")
	ErrFamily = errors.New("unknown address family")
	ErrTime   = errors.New("event time out of range")
)

// Decode reads one struct event of bpf/events.h (little-endian) from the start
// of raw into e, all of it, and keeps no reference to raw; bytes after the
// first Size are ignored. Queued becomes ns. IPv4 addresses of IPv6 sockets
// come out as IPv4: that the socket is IPv6 is in Family. It allocates only to
// make an error; after an error, e holds nothing of use.
//
// Repeats of a failed accept() is what the field holds: of the kernel's events,
// all failures like it so far.
//
// The flags that only user space sets are read from the low byte of the
// reserved field, in which the kernel writes 0 and Append the flags.
func Decode(raw []byte, e *Event) error {
	if len(raw) < Size {
		return fmt.Errorf("decode event: %w: %d bytes of %d", ErrShort, len(raw), Size)
	}
	b := (*[Size]byte)(raw)
	kind, family := Kind(b[106]), b[107]
	if kind < Accepted || kind > AcceptError {
		return fmt.Errorf("decode event: %w %d", ErrKind, kind)
	}
	at, queued := binary.LittleEndian.Uint64(b[0:]), binary.LittleEndian.Uint64(b[8:])
	if at > math.MaxInt64 || queued > math.MaxInt64/1000 {
		return fmt.Errorf("decode event: %w: at %d ns, queued at %d µs", ErrTime, at, queued)
	}
	var local, peer netip.Addr
	switch family {
	case afINET:
		local = netip.AddrFrom4([4]byte(b[32:36]))
		peer = netip.AddrFrom4([4]byte(b[48:52]))
	case afINET6:
		local = netip.AddrFrom16([16]byte(b[32:48])).Unmap()
		peer = netip.AddrFrom16([16]byte(b[48:64])).Unmap()
	default:
		if kind != AcceptError || family != 0 {
			return fmt.Errorf("decode event: %w %d", ErrFamily, family)
		}
	}
	// Field by field: a composite literal would be built aside and copied.
	e.Time = int64(at)
	e.Queued = int64(queued) * 1000
	e.ListenerID = binary.LittleEndian.Uint64(b[16:])
	e.Cookie = binary.LittleEndian.Uint64(b[24:])
	e.Local = netip.AddrPortFrom(local, binary.LittleEndian.Uint16(b[64:]))
	e.Peer = netip.AddrPortFrom(peer, binary.LittleEndian.Uint16(b[66:]))
	e.NetNS = binary.LittleEndian.Uint32(b[68:])
	e.Ifindex = binary.LittleEndian.Uint32(b[72:])
	e.Depth = binary.LittleEndian.Uint32(b[76:])
	e.Backlog = binary.LittleEndian.Uint32(b[84:])
	e.PID = binary.LittleEndian.Uint32(b[92:])
	e.TID = binary.LittleEndian.Uint32(b[96:])
	e.Inode = binary.LittleEndian.Uint32(b[100:])
	e.Errno = binary.LittleEndian.Uint16(b[104:])
	e.Kind = kind
	e.Family = family
	e.State = State(b[108])
	e.Flags = Flags(b[109]) | Flags(b[110])<<8
	e.DepthAtEntry, e.FD = binary.LittleEndian.Uint32(b[80:]), 0
	e.Unread, e.Repeats = binary.LittleEndian.Uint32(b[88:]), 0
	if kind == AcceptError {
		e.FD, e.DepthAtEntry = int32(e.DepthAtEntry), 0
		e.Repeats, e.Unread = e.Unread, 0
	}
	e.Ended = 0
	e.Comm = Comm(b[112:128])
	if end := bytes.IndexByte(e.Comm[:], 0); end >= 0 {
		clear(e.Comm[end:])
	}
	return nil
}

// Append adds e to dst in the form that Decode reads, Size bytes, and returns
// the longer slice. It is the inverse of Decode for every event that Decode can
// yield. Stall and StallEnd are not for the wire, since whoever reads derives
// them again: Decode refuses them. Family decides how addresses are written,
// and an address that is not of Family is written as zeros.
func Append(dst []byte, e *Event) []byte {
	var b [Size]byte
	entry, unread := e.DepthAtEntry, e.Unread
	if e.Kind == AcceptError {
		entry, unread = uint32(e.FD), e.Repeats
	}
	binary.LittleEndian.PutUint64(b[0:], uint64(e.Time))
	binary.LittleEndian.PutUint64(b[8:], uint64(e.Queued/1000))
	binary.LittleEndian.PutUint64(b[16:], e.ListenerID)
	binary.LittleEndian.PutUint64(b[24:], e.Cookie)
	putAddr(b[32:48], e.Family, e.Local.Addr())
	putAddr(b[48:64], e.Family, e.Peer.Addr())
	binary.LittleEndian.PutUint16(b[64:], e.Local.Port())
	binary.LittleEndian.PutUint16(b[66:], e.Peer.Port())
	binary.LittleEndian.PutUint32(b[68:], e.NetNS)
	binary.LittleEndian.PutUint32(b[72:], e.Ifindex)
	binary.LittleEndian.PutUint32(b[76:], e.Depth)
	binary.LittleEndian.PutUint32(b[80:], entry)
	binary.LittleEndian.PutUint32(b[84:], e.Backlog)
	binary.LittleEndian.PutUint32(b[88:], unread)
	binary.LittleEndian.PutUint32(b[92:], e.PID)
	binary.LittleEndian.PutUint32(b[96:], e.TID)
	binary.LittleEndian.PutUint32(b[100:], e.Inode)
	binary.LittleEndian.PutUint16(b[104:], e.Errno)
	b[106] = byte(e.Kind)
	b[107] = e.Family
	b[108] = byte(e.State)
	b[109] = byte(e.Flags)
	b[110] = byte(e.Flags >> 8)
	copy(b[112:], e.Comm[:])
	return append(dst, b[:]...)
}

// putAddr writes an address as a socket of the family holds it. The 16 bytes
// of an IPv4 address are its v4-mapped form.
func putAddr(b []byte, family uint8, a netip.Addr) {
	switch a = a.Unmap(); {
	case family == afINET && a.Is4():
		v4 := a.As4()
		copy(b, v4[:])
	case family == afINET6 && a.IsValid():
		v6 := a.As16()
		copy(b, v6[:])
	}
}
