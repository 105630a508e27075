package recording

import (
	"encoding/binary"
	"net/netip"

	"acceptwatch/internal/event"
)

// blockReader gives the events and records of a block, in order.
type blockReader struct {
	n, next  int // events; the one to come
	time     int64
	cookie   uint64
	next4    int // peers of 4 bytes
	next16   int // and of 16 bytes that were given
	cols     [columnIDs][]uint64
	classes  []event.Event // what the events of a class have in common
	forms    []addressForm // of their peers
	parsed   [columnIDs]column
	records  []byte // those to come
	recordAt int    // events before the first of these
}

// rawRecord is a record that is not yet understood.
type rawRecord struct {
	kind    recordType
	payload []byte
}

// empty leaves nothing to be given.
func (r *blockReader) empty() { r.n, r.next, r.records = 0, 0, nil }

// begin takes a block's content. It reports false if this is not what a writer
// writes; then the block is empty.
func (r *blockReader) begin(base int64, n int, compressed, raw []byte) (ok bool) {
	defer func() {
		if !ok {
			r.empty()
		}
	}()
	r.n, r.next, r.time, r.cookie, r.next4, r.next16 = n, 0, base, 0, 0, 0
	f := fields{b: compressed}
	var rows [threads + 1]int
	rows[events] = n
	for t := classes; t <= threads; t++ {
		rows[t] = f.count(n)
	}
	clear(r.parsed[:])
	if !parseColumns(&f, raw, &r.parsed) {
		return false
	}
	if !r.read(rows[:], colClass) {
		return false
	}
	for id := colPlace; id < columnIDs; id++ {
		if !r.read(rows[:], id) {
			return false
		}
	}
	if !r.join(rows[classes]) {
		return false
	}
	// How many peers have which form follows from the classes.
	four, sixteenBytes := 0, 0
	for _, class := range r.cols[colClass] {
		if class >= uint64(len(r.forms)) {
			return false
		}
		switch r.forms[class] {
		case fourBytes:
			four++
		case sixteen:
			sixteenBytes++
		}
	}
	for id := colTime; id <= colPeerLow; id++ {
		switch id {
		case colPeer4:
			rows[events] = four
		case colPeerHigh, colPeerLow:
			rows[events] = sixteenBytes
		default:
			rows[events] = n
		}
		if !r.read(rows[:], id) {
			return false
		}
	}
	return r.checkRecords(f.b)
}

func (r *blockReader) read(rows []int, id columnID) (ok bool) {
	if !id.known() {
		return true
	}
	r.cols[id], ok = r.parsed[id].read(r.cols[id], rows[id.table()])
	return ok
}

// join makes the classes of their places and threads.
func (r *blockReader) join(n int) bool {
	r.classes, r.forms = r.classes[:0], r.forms[:0]
	c := &r.cols
	for i := range n {
		at, by := c[colPlace][i], c[colThread][i]
		if at >= uint64(len(c[colListener])) || by >= uint64(len(c[colPID])) {
			return false
		}
		form := addressForm(c[colPeerForm][i])
		if _, ok := join(form, 0, 0); !ok {
			return false
		}
		local, ok := join(addressForm(c[colLocalForm][at]), c[colLocalHigh][at], c[colLocalLow][at])
		if !ok {
			return false
		}
		e := event.Event{
			ListenerID: c[colListener][at],
			Local:      netip.AddrPortFrom(local, uint16(c[colLocalPort][at])),
			NetNS:      uint32(c[colNetNS][at]),
			Ifindex:    uint32(c[colIfindex][at]),
			Backlog:    uint32(c[colBacklog][at]),
			Family:     uint8(c[colFamily][at]),
			Inode:      uint32(c[colInode][at]),
			PID:        uint32(c[colPID][by]),
			TID:        uint32(c[colTID][by]),
			Kind:       event.Kind(c[colKind][i]),
			Flags:      event.Flags(c[colFlags][i]),
			State:      event.State(c[colState][i]),
			Errno:      uint16(c[colErrno][i]),
			FD:         int32(unzigzag(c[colFD][i])),
		}
		binary.LittleEndian.PutUint64(e.Comm[:8], c[colCommHigh][by])
		binary.LittleEndian.PutUint64(e.Comm[8:], c[colCommLow][by])
		r.classes = append(r.classes, e)
		r.forms = append(r.forms, form)
	}
	return true
}

// checkRecords sees that the records are whole and in their places.
func (r *blockReader) checkRecords(b []byte) bool {
	r.records, r.recordAt = b, 0
	at := 0
	f := fields{b: b}
	for len(f.b) > 0 {
		at += f.count(r.n - at)
		f.uvarint()
		f.bytes()
	}
	if f.bad {
		return false
	}
	if len(b) > 0 {
		f = fields{b: b}
		r.recordAt = f.count(r.n)
		r.records = f.b
	}
	return true
}

// nextRecord gives the record that is due before the next event.
func (r *blockReader) nextRecord() (record rawRecord, ok bool) {
	if len(r.records) == 0 || r.recordAt > r.next {
		return record, false
	}
	f := fields{b: r.records}
	record = rawRecord{kind: recordType(f.uvarint()), payload: f.bytes()}
	if len(f.b) > 0 {
		r.recordAt += f.count(r.n)
	}
	r.records = f.b
	return record, true
}

// nextEvent gives the next event.
func (r *blockReader) nextEvent(e *event.Event) (ok bool) {
	i := r.next
	if i >= r.n {
		return false
	}
	r.next++
	c := &r.cols
	class := c[colClass][i]
	*e = r.classes[class]
	r.time += unzigzag(c[colTime][i])
	e.Time = max(0, r.time) // as a kernel's are; another would surprise whoever reads it
	if queued := c[colQueued][i]; queued != 0 {
		e.Queued = max(0, (r.time/1000-unzigzag(queued-1))*1000)
	}
	r.cookie += uint64(unzigzag(c[colCookie][i]))
	e.Cookie = r.cookie
	e.Depth = uint32(c[colDepth][i])
	e.DepthAtEntry = uint32(c[colEntry][i])
	e.Unread = uint32(c[colUnread][i])
	e.Repeats = uint32(c[colRepeats][i])
	port := uint16(c[colPeerPort][i])
	switch r.forms[class] {
	case fourBytes:
		peer, _ := join(fourBytes, 0, c[colPeer4][r.next4])
		e.Peer = netip.AddrPortFrom(peer, port)
		r.next4++
	case sixteen:
		peer, _ := join(sixteen, c[colPeerHigh][r.next16], c[colPeerLow][r.next16])
		e.Peer = netip.AddrPortFrom(peer, port)
		r.next16++
	default:
		e.Peer = netip.AddrPortFrom(netip.Addr{}, port)
	}
	return true
}
