package recording

import (
	"encoding/binary"
	"net/netip"

	"acceptwatch/internal/event"
)

// addressForm says how an address is written.
type addressForm uint8

const (
	noAddress addressForm = 0
	fourBytes addressForm = 4
	sixteen   addressForm = 16
)

func formOf(a netip.Addr) addressForm {
	switch {
	case a.Is4():
		return fourBytes
	case a.IsValid():
		return sixteen
	}
	return noAddress
}

// split is an address as two numbers. The second is the whole of an IPv4
// address.
func split(a netip.Addr) (high, low uint64) {
	switch formOf(a) {
	case fourBytes:
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	case sixteen:
		b := a.As16()
		return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	}
	return 0, 0
}

// join is the inverse of split. It reports false for a form that there is not.
func join(form addressForm, high, low uint64) (a netip.Addr, ok bool) {
	switch form {
	case noAddress:
		return a, true
	case fourBytes:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(low))
		return netip.AddrFrom4(b), true
	case sixteen:
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], high)
		binary.BigEndian.PutUint64(b[8:], low)
		return netip.AddrFrom16(b), true
	}
	return a, false
}

// class is what many events have in common: where they happened, who accepted,
// and how.
type class struct {
	place  place
	thread thread
	fd     int32
	flags  event.Flags
	errno  uint16
	kind   event.Kind
	state  event.State
	peer   addressForm
}

type place struct {
	listener uint64
	local    netip.AddrPort
	netns    uint32
	ifindex  uint32
	backlog  uint32
	inode    uint32
	family   uint8
}

type thread struct {
	pid, tid uint32
	comm     event.Comm
}

// recent is how many classes are found by comparing only.
const recent = 1 << 8

// blockWriter collects what goes into one block.
type blockWriter struct {
	base int64 // ns: what the first event's time is counted from
	n    int   // events

	lastTime   int64
	lastCookie uint64
	cols       [colPeerLow + 1]*[MaxEvents]uint64
	n4, n16    int // peers of 4 bytes, and of 16
	classes    []class
	classOf    map[class]uint16
	recent     [recent]uint16 // 1 + row of classes; 0: none
	classRows  [][2]uint64    // of each class: its place and its thread
	places     []place
	placeOf    map[place]uint64
	threads    []thread
	threadOf   map[thread]uint64
	records    []byte
	recordsAt  int // events before the last record
	recordings int // records

	columns columnWriter
	scratch []uint64
	prefix  []byte
}

func newBlockWriter() *blockWriter {
	w := &blockWriter{
		classOf:  make(map[class]uint16),
		placeOf:  make(map[place]uint64),
		threadOf: make(map[thread]uint64),
	}
	for i := range w.cols {
		w.cols[i] = new([MaxEvents]uint64)
	}
	return w
}

// reset empties it.
func (w *blockWriter) reset(base int64) {
	w.base, w.n = base, 0
	w.lastTime, w.lastCookie = base, 0
	w.n4, w.n16 = 0, 0
	clear(w.classOf)
	clear(w.placeOf)
	clear(w.threadOf)
	clear(w.recent[:])
	w.classes, w.classRows, w.places, w.threads = w.classes[:0], w.classRows[:0], w.places[:0], w.threads[:0]
	w.records, w.recordsAt, w.recordings = w.records[:0], 0, 0
}

func (w *blockWriter) empty() bool { return w.n == 0 && w.recordings == 0 }

// The most bytes that things add to the content.
const (
	perEvent  = 2 + 8 + 8 + 4 + 4 + 4 + 8 + 4 + 2 + 16
	perClass  = 2 + 2 + 1 + 2 + 1 + 2 + 5 + 1
	perPlace  = 8 + 1 + 16 + 2 + 4 + 4 + 4 + 1 + 4
	perThread = 4 + 4 + 16
	perRecord = 3 * binary.MaxVarintLen64
	perBlock  = 4*binary.MaxVarintLen64 + columnIDs*(2+2*binary.MaxVarintLen64)
)

// size is the most that the content of the block will have.
func (w *blockWriter) size() int {
	return prefaceSize + perBlock + w.n*perEvent + len(w.classes)*perClass +
		len(w.places)*perPlace + len(w.threads)*perThread + len(w.records)
}

// full says that there may be no room for another event.
func (w *blockWriter) full() bool {
	return w.size()+perEvent+perClass+perPlace+perThread > MaxContent
}

// event adds an event, for which there is room.
func (w *blockWriter) event(e *event.Event) {
	queued := uint64(0)
	if e.Queued != 0 {
		queued = 1 + zigzag(e.Time/1000-e.Queued/1000)
	}
	c, n := &w.cols, w.n
	c[colClass][n] = uint64(w.class(e))
	c[colTime][n] = zigzag(e.Time - w.lastTime)
	c[colQueued][n] = queued
	c[colDepth][n] = uint64(e.Depth)
	c[colEntry][n] = uint64(e.DepthAtEntry)
	c[colUnread][n] = uint64(e.Unread)
	c[colCookie][n] = zigzag(int64(e.Cookie - w.lastCookie))
	c[colRepeats][n] = uint64(e.Repeats)
	c[colPeerPort][n] = uint64(e.Peer.Port())
	switch peer := e.Peer.Addr(); formOf(peer) {
	case fourBytes:
		_, c[colPeer4][w.n4] = split(peer)
		w.n4++
	case sixteen:
		c[colPeerHigh][w.n16], c[colPeerLow][w.n16] = split(peer)
		w.n16++
	}
	w.lastTime, w.lastCookie = e.Time, e.Cookie
	w.n++
}

// is says whether an event is of a class.
func (c *class) is(e *event.Event) bool {
	p := &c.place
	return p.listener == e.ListenerID && c.thread.tid == e.TID && c.state == e.State && c.kind == e.Kind &&
		p.local == e.Local && p.netns == e.NetNS && p.ifindex == e.Ifindex &&
		p.backlog == e.Backlog && p.inode == e.Inode && p.family == e.Family &&
		c.thread.pid == e.PID && c.thread.comm == e.Comm &&
		c.fd == e.FD && c.flags == e.Flags && c.errno == e.Errno && c.peer == formOf(e.Peer.Addr())
}

// class is the row of an event's class, which is added if it is new.
func (w *blockWriter) class(e *event.Event) uint16 {
	hash := e.ListenerID*prime1 ^ uint64(e.TID)*prime2 ^ uint64(e.Kind)<<56 ^ uint64(e.State)<<48 ^ uint64(e.Local.Port())<<40
	slot := &w.recent[(hash*prime3)>>56]
	if *slot != 0 && w.classes[*slot-1].is(e) {
		return *slot - 1
	}
	c := class{
		place: place{
			listener: e.ListenerID, local: e.Local, netns: e.NetNS, ifindex: e.Ifindex,
			backlog: e.Backlog, inode: e.Inode, family: e.Family,
		},
		thread: thread{e.PID, e.TID, e.Comm},
		fd:     e.FD, flags: e.Flags, errno: e.Errno, kind: e.Kind, state: e.State, peer: formOf(e.Peer.Addr()),
	}
	row, ok := w.classOf[c]
	if !ok {
		row = uint16(len(w.classes))
		w.classOf[c] = row
		w.classes = append(w.classes, c)
		atPlace, ok := w.placeOf[c.place]
		if !ok {
			atPlace = uint64(len(w.places))
			w.placeOf[c.place] = atPlace
			w.places = append(w.places, c.place)
		}
		byThread, ok := w.threadOf[c.thread]
		if !ok {
			byThread = uint64(len(w.threads))
			w.threadOf[c.thread] = byThread
			w.threads = append(w.threads, c.thread)
		}
		w.classRows = append(w.classRows, [2]uint64{atPlace, byThread})
	}
	*slot = row + 1
	return row
}

// record adds a record after the events so far.
func (w *blockWriter) record(kind recordType, payload []byte) {
	w.records = binary.AppendUvarint(w.records, uint64(w.n-w.recordsAt))
	w.records = binary.AppendUvarint(w.records, uint64(kind))
	w.records = appendBytes(w.records, payload)
	w.recordsAt = w.n
	w.recordings++
}

// content is what the block's frame holds, after its preface.
func (w *blockWriter) content() (compressed, raw []byte) {
	c := &w.columns
	c.reset()
	for id := range w.cols {
		n := w.n
		switch columnID(id) {
		case colPeer4:
			n = w.n4
		case colPeerHigh, colPeerLow:
			n = w.n16
		}
		c.add(columnID(id), w.cols[id][:n])
	}
	ofClasses := func(id columnID, of func(i int, s *class) uint64) {
		w.scratch = w.scratch[:0]
		for i := range w.classes {
			w.scratch = append(w.scratch, of(i, &w.classes[i]))
		}
		c.add(id, w.scratch)
	}
	ofClasses(colPlace, func(i int, _ *class) uint64 { return w.classRows[i][0] })
	ofClasses(colThread, func(i int, _ *class) uint64 { return w.classRows[i][1] })
	ofClasses(colKind, func(_ int, s *class) uint64 { return uint64(s.kind) })
	ofClasses(colFlags, func(_ int, s *class) uint64 { return uint64(s.flags) })
	ofClasses(colState, func(_ int, s *class) uint64 { return uint64(s.state) })
	ofClasses(colErrno, func(_ int, s *class) uint64 { return uint64(s.errno) })
	ofClasses(colFD, func(_ int, s *class) uint64 { return zigzag(int64(s.fd)) })
	ofClasses(colPeerForm, func(_ int, s *class) uint64 { return uint64(s.peer) })

	ofPlaces := func(id columnID, of func(*place) uint64) {
		w.scratch = w.scratch[:0]
		for i := range w.places {
			w.scratch = append(w.scratch, of(&w.places[i]))
		}
		c.add(id, w.scratch)
	}
	ofPlaces(colListener, func(p *place) uint64 { return p.listener })
	ofPlaces(colLocalForm, func(p *place) uint64 { return uint64(formOf(p.local.Addr())) })
	ofPlaces(colLocalHigh, func(p *place) uint64 { high, _ := split(p.local.Addr()); return high })
	ofPlaces(colLocalLow, func(p *place) uint64 { _, low := split(p.local.Addr()); return low })
	ofPlaces(colLocalPort, func(p *place) uint64 { return uint64(p.local.Port()) })
	ofPlaces(colNetNS, func(p *place) uint64 { return uint64(p.netns) })
	ofPlaces(colIfindex, func(p *place) uint64 { return uint64(p.ifindex) })
	ofPlaces(colBacklog, func(p *place) uint64 { return uint64(p.backlog) })
	ofPlaces(colFamily, func(p *place) uint64 { return uint64(p.family) })
	ofPlaces(colInode, func(p *place) uint64 { return uint64(p.inode) })

	ofThreads := func(id columnID, of func(*thread) uint64) {
		w.scratch = w.scratch[:0]
		for i := range w.threads {
			w.scratch = append(w.scratch, of(&w.threads[i]))
		}
		c.add(id, w.scratch)
	}
	ofThreads(colPID, func(t *thread) uint64 { return uint64(t.pid) })
	ofThreads(colTID, func(t *thread) uint64 { return uint64(t.tid) })
	ofThreads(colCommHigh, func(t *thread) uint64 { return binary.LittleEndian.Uint64(t.comm[:8]) })
	ofThreads(colCommLow, func(t *thread) uint64 { return binary.LittleEndian.Uint64(t.comm[8:]) })

	w.prefix = w.prefix[:0]
	for _, n := range []int{len(w.classes), len(w.places), len(w.threads), c.n} {
		w.prefix = binary.AppendUvarint(w.prefix, uint64(n))
	}
	w.prefix = append(append(w.prefix, c.compressed...), w.records...)
	return w.prefix, c.raw
}
