package sockdiag

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/netns"
)

// Families selects address families of sockets. An IPv4 connection of a
// dual-stack listener is an IPv6 socket.
type Families uint8

const (
	IPv4 Families = 1 << iota
	IPv6
)

// StateMask selects states: bit n is the kernel's state n.
type StateMask uint32

// States makes a mask.
func States(states ...State) StateMask {
	var m StateMask
	for _, s := range states {
		m |= 1 << s
	}
	return m
}

// AllStates are the states ESTABLISHED to NEW_SYN_RECV.
const AllStates StateMask = 1<<(NewSynRecv+1) - 2

// Ext asks for details that cost time and room in each row.
type Ext uint8

const (
	// ExtInfo fills LastDataSent and MPTCP: about 250 bytes a row, and the socket's lock.
	ExtInfo Ext = 1 << (attrInfo - 1)
	// ExtSKMemInfo fills Drops.
	ExtSKMemInfo Ext = 1 << (attrSKMemInfo - 1)
)

// PortRange is inclusive. One port has both equal.
type PortRange struct{ Low, High uint16 }

// Query says which sockets to report. The zero value is all of them, in the
// network namespace of the calling thread.
type Query struct {
	NetNS    *netns.NS // nil: that of the calling thread
	Families Families  // 0: both
	States   StateMask // 0: all; LISTEN alone does not walk the established hash
	Ext      Ext

	// Ports are local ports; empty: any. They are tested in the kernel, or if
	// there are very many separate ranges, here.
	Ports []PortRange
}

// ListenersQuery reports listeners with depth, backlog and drops.
func ListenersQuery(ports ...PortRange) Query {
	return Query{States: States(Listen), Ext: ExtSKMemInfo, Ports: ports}
}

// mostKernelRanges is how many separate port ranges the kernel can test: the jumps
// of the filter's bytecode are 16 bit.
const mostKernelRanges = (1<<16 - 64) / rangeOpsLen

// families returns the numbers to dump one after the other.
func (q Query) families() []uint8 {
	all := make([]uint8, 0, 2)
	if q.Families == 0 || q.Families&IPv4 != 0 {
		all = append(all, unix.AF_INET)
	}
	if q.Families == 0 || q.Families&IPv6 != 0 {
		all = append(all, unix.AF_INET6)
	}
	return all
}

func (q Query) states() StateMask {
	if q.States == 0 {
		return AllStates
	}
	return q.States
}

const (
	reqLen = 56 // sizeof(struct inet_diag_req_v2)

	reqAttrBytecode = 1 // INET_DIAG_REQ_BYTECODE
)

// request encodes a struct inet_diag_req_v2 for one family, followed by the
// filter if one is needed and possible. The ranges are joined.
func (q Query) request(family uint8, ranges []PortRange) []byte {
	req := make([]byte, reqLen, reqLen+64)
	req[0] = family
	req[1] = unix.IPPROTO_TCP
	req[2] = uint8(q.Ext)
	binary.NativeEndian.PutUint32(req[4:], uint32(q.states()))

	switch {
	case len(ranges) == 0, len(ranges) > mostKernelRanges:
		return req
	case len(ranges) == 1 && ranges[0].Low == ranges[0].High:
		// One port fits the request itself (id.idiag_sport).
		binary.BigEndian.PutUint16(req[8:], ranges[0].Low)
		return req
	}

	code := portFilter(ranges)
	req = binary.NativeEndian.AppendUint16(req, uint16(unix.SizeofRtAttr+len(code)))
	req = binary.NativeEndian.AppendUint16(req, reqAttrBytecode)
	return append(req, code...)
}

// joinRanges sorts, checks and merges. Port 0 means "any" to the kernel's
// idiag_sport and is no port of a socket in any table, so it is refused.
func joinRanges(ports []PortRange) ([]PortRange, error) {
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b PortRange) int { return int(a.Low) - int(b.Low) })

	var out []PortRange
	for _, r := range sorted {
		if r.Low == 0 || r.Low > r.High {
			return nil, fmt.Errorf("filter by port: bad range %d-%d, give two ports from 1 to 65535 in order", r.Low, r.High)
		}
		if n := len(out); n > 0 && int(r.Low) <= int(out[n-1].High)+1 {
			out[n-1].High = max(out[n-1].High, r.High)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

// among says whether a port is in one of the ranges, which are joined.
func among(ranges []PortRange, port uint16) bool {
	_, found := slices.BinarySearchFunc(ranges, port, func(r PortRange, port uint16) int {
		switch {
		case r.High < port:
			return -1
		case r.Low > port:
			return 1
		}
		return 0
	})
	return found
}

// Operations of the filter's bytecode (inet_diag_bc_run, net/ipv4/inet_diag.c).
const (
	opJump        = 1 // INET_DIAG_BC_JMP
	opSourceGE    = 2 // INET_DIAG_BC_S_GE
	opSourceLE    = 3 // INET_DIAG_BC_S_LE
	opLen         = 4 // sizeof(struct inet_diag_bc_op)
	compareLen    = 2 * opLen
	rangeOpsLen   = 2*compareLen + opLen
	rejectPastEnd = opLen // a jump that ends exactly at the end accepts
)

// portFilter compiles "local port in one of the ranges": for each range
//
//	port >= low,  else to the next range
//	port <= high, else to the next range
//	accept
//
// where the last range falls off the end to accept, and jumps past it to
// reject. S_GE and S_LE are in every kernel that has sock_diag; S_EQ is newer.
func portFilter(ranges []PortRange) []byte {
	total := len(ranges)*rangeOpsLen - opLen
	code := make([]byte, 0, total)
	compare := func(op uint8, no int, port uint16) {
		code = append(code, op, compareLen)
		code = binary.NativeEndian.AppendUint16(code, uint16(no))
		code = append(code, 0, 0) // the second op only carries the port in "no"
		code = binary.NativeEndian.AppendUint16(code, port)
	}
	for i, r := range ranges {
		next := rangeOpsLen * (i + 1)
		last := i == len(ranges)-1
		if last {
			next = total + rejectPastEnd
		}
		compare(opSourceGE, next-len(code), r.Low)
		compare(opSourceLE, next-len(code), r.High)
		if !last {
			no := total - len(code)
			code = append(code, opJump, opLen)
			code = binary.NativeEndian.AppendUint16(code, uint16(no))
		}
	}
	return code
}
