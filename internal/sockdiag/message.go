package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Attributes of an answer (include/uapi/linux/inet_diag.h).
const (
	attrInfo      = 2
	attrSKMemInfo = 7
	attrShutdown  = 8
	attrV6Only    = 11
	attrULPInfo   = 19
	attrCgroupID  = 21

	// Inside attrULPInfo.
	attrULPName = 1
)

const (
	inetDiagMsgLen = 72 // sizeof(struct inet_diag_msg)

	// Offsets of struct tcp_info (include/uapi/linux/tcp.h) and of the array in
	// attrSKMemInfo (SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h).
	offLastDataSent = 44
	offLastAckRecv  = 56
	offDrops        = 8 * 4
)

var errShort = errors.New("message is too short")

// parseSocket reads a struct inet_diag_msg and its attributes: what follows the
// netlink header. All is native byte order, but for addresses and ports. It
// overwrites every field of s and keeps no reference to b.
func parseSocket(b []byte, s *Socket) error {
	if len(b) < inetDiagMsgLen {
		return fmt.Errorf("parse socket of %d bytes: %w", len(b), errShort)
	}
	ne := binary.NativeEndian

	*s = Socket{
		Family:  b[0],
		State:   State(b[1]),
		Ifindex: ne.Uint32(b[40:]),
		Cookie:  uint64(ne.Uint32(b[44:])) | uint64(ne.Uint32(b[48:]))<<32,
		// idiag_expires is at 52.
		RQueue: ne.Uint32(b[56:]),
		WQueue: ne.Uint32(b[60:]),
		UID:    ne.Uint32(b[64:]),
		Inode:  ne.Uint32(b[68:]),
	}
	if s.Cookie == ^uint64(0) { // INET_DIAG_NOCOOKIE
		s.Cookie = 0
	}

	var local, remote netip.Addr
	switch s.Family {
	case unix.AF_INET:
		local = netip.AddrFrom4([4]byte(b[8:12]))
		remote = netip.AddrFrom4([4]byte(b[24:28]))
	case unix.AF_INET6:
		local = netip.AddrFrom16([16]byte(b[8:24]))
		remote = netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return fmt.Errorf("parse socket: unknown address family %d", s.Family)
	}
	s.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:]))
	s.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[6:]))

	full := false
	for b = b[inetDiagMsgLen:]; len(b) >= unix.SizeofRtAttr; {
		kind, value, rest, err := nextAttr(b)
		if err != nil {
			return fmt.Errorf("parse socket %s: %w", s.Local, err)
		}
		full = full || kind == attrShutdown
		s.setAttr(kind, value)
		b = rest
	}

	// A request_sock and a Fast Open socket are both reported as SYN_RECV. Full
	// sockets always carry INET_DIAG_SHUTDOWN (inet_diag_msg_attrs_fill), the
	// others never do. Seen on 6.18.
	if s.State == SynRecv && !full {
		s.State = NewSynRecv
	}
	return nil
}

// nextAttr splits off one struct nlattr.
func nextAttr(b []byte) (kind uint16, value, rest []byte, err error) {
	if len(b) < unix.SizeofRtAttr {
		return 0, nil, nil, fmt.Errorf("attribute header of %d bytes: %w", len(b), errShort)
	}
	length := int(binary.NativeEndian.Uint16(b))
	kind = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	if length < unix.SizeofRtAttr || length > len(b) {
		return 0, nil, nil, fmt.Errorf("attribute %d claims %d of %d bytes", kind, length, len(b))
	}
	aligned := min((length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b))
	return kind, b[unix.SizeofRtAttr:length], b[aligned:], nil
}

// setAttr ignores attributes that are shorter than expected: they leave the
// field unknown, as an older kernel does that does not send them.
func (s *Socket) setAttr(kind uint16, value []byte) {
	ne := binary.NativeEndian
	switch {
	case kind == attrInfo && len(value) >= offLastAckRecv+4 && s.State != Listen:
		// A listener's tcp_info holds queue lengths only (tcp_get_info).
		s.LastDataSent = time.Duration(ne.Uint32(value[offLastDataSent:])) * time.Millisecond
		s.LastHeard = time.Duration(ne.Uint32(value[offLastAckRecv:])) * time.Millisecond
		s.HasInfo = true
	case kind == attrSKMemInfo && len(value) >= offDrops+4:
		s.Drops = ne.Uint32(value[offDrops:])
		s.HasDrops = true
	case kind == attrV6Only && len(value) >= 1:
		s.V6Only = V6OnlyNo
		if value[0] != 0 {
			s.V6Only = V6OnlyYes
		}
	case kind == attrCgroupID && len(value) >= 8:
		s.CgroupID = ne.Uint64(value)
	case kind == attrULPInfo:
		s.MPTCP = ulpIs(value, "mptcp")
	}
}

// ulpIs looks for the name of the upper layer protocol in a nested attribute.
func ulpIs(b []byte, name string) bool {
	for len(b) >= unix.SizeofRtAttr {
		kind, value, rest, err := nextAttr(b)
		if err != nil {
			return false
		}
		if kind == attrULPName {
			return string(cString(value)) == name
		}
		b = rest
	}
	return false
}

func cString(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
