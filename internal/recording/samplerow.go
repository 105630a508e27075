package recording

import (
	"encoding/binary"
	"net/netip"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// row is an entry of one of the lists. A later version appends columns.
type row [29]uint64

// Columns of the lists, and how many of them say what the entry is of.
const (
	listenerColumns, listenerIdentity = 29, 1
	addressColumns, addressIdentity   = 12, 6
	errorColumns, errorIdentity       = 14, 12
)

// identity are the first columns of a row.
type identity [12]uint64

func (r *row) identity(n int) (id identity) {
	copy(id[:n], r[:n])
	return id
}

func keyColumns(r []uint64, k *listener.Key) {
	high, low := split(k.Addr.Addr())
	r[0], r[1], r[2] = uint64(k.NetNS), uint64(formOf(k.Addr.Addr())), high
	r[3], r[4], r[5] = low, uint64(k.Addr.Port()), uint64(k.Ifindex)
}

func columnsKey(r []uint64) (k listener.Key, ok bool) {
	addr, ok := join(addressForm(r[1]), r[2], r[3])
	k.NetNS, k.Ifindex = uint32(r[0]), uint32(r[5])
	k.Addr = netip.AddrPortFrom(addr, uint16(r[4]))
	return k, ok
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func ofCounted(c *listener.Counted) (r row) {
	r[0] = c.ID
	keyColumns(r[1:], &c.Key)
	copy(r[7:], []uint64{
		uint64(c.Family), truth(c.V6Only), uint64(c.Inode), truth(c.Closed), uint64(c.Depth), uint64(c.Backlog),
		c.Enqueued, c.Accepted, c.AcceptedCloseWait, c.AcceptedReset, c.Purged, c.PurgedDead,
		c.MigratedIn, c.MigratedOut, c.OverflowSYN, c.OverflowACK,
		uint64(c.MaxDepth), uint64(c.Full), uint64(c.LastAccept), uint64(c.NonEmptySince), uint64(c.MaxWait),
		truth(c.Folded),
	})
	return r
}

func (r *row) counted() (c listener.Counted, ok bool) {
	c.ID = r[0]
	c.Key, ok = columnsKey(r[1:])
	c.Family, c.V6Only, c.Inode, c.Closed = uint8(r[7]), r[8] != 0, uint32(r[9]), r[10] != 0
	c.Depth, c.Backlog = uint32(r[11]), uint32(r[12])
	c.Enqueued, c.Accepted, c.AcceptedCloseWait, c.AcceptedReset = r[13], r[14], r[15], r[16]
	c.Purged, c.PurgedDead, c.MigratedIn, c.MigratedOut = r[17], r[18], r[19], r[20]
	c.OverflowSYN, c.OverflowACK, c.MaxDepth = r[21], r[22], uint32(r[23])
	c.Full, c.LastAccept, c.NonEmptySince = time.Duration(r[24]), int64(r[25]), int64(r[26])
	c.MaxWait, c.Folded = int64(r[27]), r[28] != 0
	return c, ok
}

func ofAddress(a *listener.AtAddress) (r row) {
	keyColumns(r[:], &a.Key)
	copy(r[6:], []uint64{a.CloseWait, a.Reset, a.ResetAfterFIN, a.Accepted, a.AcceptedDead, a.Enqueued})
	return r
}

func (r *row) address() (a listener.AtAddress, ok bool) {
	a.Key, ok = columnsKey(r[:])
	a.CloseWait, a.Reset, a.ResetAfterFIN = r[6], r[7], r[8]
	a.Accepted, a.AcceptedDead, a.Enqueued = r[9], r[10], r[11]
	return a, ok
}

func ofError(e *listener.AcceptError) (r row) {
	r[0] = e.ListenerID
	keyColumns(r[1:], &e.Key)
	copy(r[7:], []uint64{
		uint64(e.Inode), uint64(e.PID),
		binary.LittleEndian.Uint64(e.Comm[:8]), binary.LittleEndian.Uint64(e.Comm[8:]),
		uint64(e.Errno), e.Count, uint64(e.Last),
	})
	return r
}

func (r *row) acceptError() (e listener.AcceptError, ok bool) {
	e.ListenerID = r[0]
	e.Key, ok = columnsKey(r[1:])
	e.Inode, e.PID = uint32(r[7]), uint32(r[8])
	e.Comm = event.Comm{}
	binary.LittleEndian.PutUint64(e.Comm[:8], r[9])
	binary.LittleEndian.PutUint64(e.Comm[8:], r[10])
	e.Errno, e.Count, e.Last = uint16(r[11]), r[12], int64(r[13])
	return e, ok
}
