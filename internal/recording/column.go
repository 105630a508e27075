package recording

import (
	"encoding/binary"
	"math/bits"
)

// A column holds one number of each row of a table. It is written as its
// constant, or as planes: the lowest bytes of all numbers, then the next ones.
// A plane that looks random goes to the part of the frame that is not
// compressed, where it costs no time and does not spoil the compressor's model
// of the others.

// table says whose rows a column has.
type table uint8

const (
	events  table = iota // n of them
	classes              // what many events have in common
	places               // of classes
	threads              // of classes
)

// columnID is what a column is called in the file. Its upper half is its table.
type columnID uint8

func (id columnID) table() table { return table(id >> 4) }

const (
	colClass    columnID = 0x00 // row of classes
	colTime     columnID = 0x01 // ns since the event before, zigzag
	colQueued   columnID = 0x02 // 0: not known; else 1 + µs until the event, zigzag
	colDepth    columnID = 0x03
	colEntry    columnID = 0x04
	colUnread   columnID = 0x05
	colCookie   columnID = 0x06 // less that of the event before, zigzag
	colRepeats  columnID = 0x07
	colPeerPort columnID = 0x08
	colPeer4    columnID = 0x09 // of the events whose peer is IPv4
	colPeerHigh columnID = 0x0a // of the events whose peer has 16 bytes: the first 8
	colPeerLow  columnID = 0x0b // and the others

	colPlace    columnID = 0x10 // row of places
	colThread   columnID = 0x11 // row of threads
	colKind     columnID = 0x12
	colFlags    columnID = 0x13
	colState    columnID = 0x14
	colErrno    columnID = 0x15
	colFD       columnID = 0x16 // zigzag
	colPeerForm columnID = 0x17 // addressForm

	colListener  columnID = 0x20
	colLocalForm columnID = 0x21 // addressForm
	colLocalHigh columnID = 0x22
	colLocalLow  columnID = 0x23
	colLocalPort columnID = 0x24
	colNetNS     columnID = 0x25
	colIfindex   columnID = 0x26
	colBacklog   columnID = 0x27
	colFamily    columnID = 0x28
	colInode     columnID = 0x29

	colPID      columnID = 0x30
	colTID      columnID = 0x31
	colCommHigh columnID = 0x32
	colCommLow  columnID = 0x33

	columnIDs = 0x40
)

// known says whether there is such a column in this version.
func (id columnID) known() bool {
	last := [...]columnID{events: colPeerLow, classes: colPeerForm, places: colInode, threads: colCommLow}
	return int(id.table()) < len(last) && id <= last[id.table()]
}

// encoding says how a column is written.
type encoding uint8

const (
	constant encoding = 0 // a uvarint: all rows have it
	planes   encoding = 1 // how many, which are not compressed (a bit each), those that are
)

// fewForRaw is the number of rows below which it cannot be told whether a
// plane is random.
const fewForRaw = 512

// columnWriter collects the columns of a frame.
type columnWriter struct {
	n               int // columns
	compressed, raw []byte
}

func (w *columnWriter) reset() {
	w.n, w.compressed, w.raw = 0, w.compressed[:0], w.raw[:0]
}

// add writes a column. One whose rows are all 0 is left out.
func (w *columnWriter) add(id columnID, rows []uint64) {
	var any, differ uint64
	for _, v := range rows {
		any |= v
		differ |= v ^ rows[0]
	}
	if any == 0 {
		return
	}
	w.n++
	w.compressed = append(w.compressed, byte(id))
	if differ == 0 {
		var payload [binary.MaxVarintLen64]byte
		w.compressed = append(w.compressed, byte(constant), 0)
		w.compressed = appendBytes(w.compressed, binary.AppendUvarint(payload[:0], rows[0]))
		return
	}
	width := (bits.Len64(any) + 7) / 8
	var isRaw uint8
	rawBefore := len(w.raw)
	for p := range width {
		at := len(w.raw)
		w.raw = appendPlane(w.raw, rows, p)
		if random(w.raw[at:]) {
			isRaw |= 1 << p
		} else {
			w.raw = w.raw[:at]
		}
	}
	w.compressed = append(w.compressed, byte(planes))
	w.compressed = binary.AppendUvarint(w.compressed, uint64(len(w.raw)-rawBefore))
	kept := width - bits.OnesCount8(isRaw)
	w.compressed = binary.AppendUvarint(w.compressed, uint64(2+kept*len(rows)))
	w.compressed = append(w.compressed, byte(width), isRaw)
	for p := range width {
		if isRaw&(1<<p) == 0 {
			w.compressed = appendPlane(w.compressed, rows, p)
		}
	}
}

func appendPlane(b []byte, rows []uint64, p int) []byte {
	at := len(b)
	if n := at + len(rows); n <= cap(b) {
		b = b[:n]
	} else {
		b = append(b, make([]byte, len(rows))...)
	}
	plane, shift := b[at:][:len(rows)], uint(8*p)
	for i, v := range rows {
		plane[i] = byte(v >> (shift & 63))
	}
	return b
}

// random says whether no order-0 code would make this plane shorter by more
// than 4 %: of random bytes, two are equal in 1 of 256 pairs.
func random(plane []byte) bool {
	if len(plane) < fewForRaw {
		return false
	}
	// Two tables, so that equal neighbours do not wait for each other.
	var seen [2][256]uint32
	i := 0
	for ; i+1 < len(plane); i += 2 {
		seen[0][plane[i]]++
		seen[1][plane[i+1]]++
	}
	if i < len(plane) {
		seen[0][plane[i]]++
	}
	var pairs, n uint64 = 0, uint64(len(plane))
	for b := range 256 {
		c := uint64(seen[0][b] + seen[1][b])
		pairs += c * c
	}
	return (pairs-n)*256*4 <= n*n*5
}

// column is one of a frame that is being read.
type column struct {
	present      bool
	encoding     encoding
	payload, raw []byte
}

// parseColumns reads the descriptors. Columns that this version does not know
// are skipped.
func parseColumns(f *fields, raw []byte, into *[columnIDs]column) (ok bool) {
	for n := f.count(1 << 10); n > 0; n-- {
		id, enc := f.uvarint(), f.uvarint()
		rawSize := f.count(len(raw))
		c := column{present: true, encoding: encoding(enc), payload: f.bytes()}
		if f.bad || rawSize > len(raw) || enc > 0xff {
			return false
		}
		c.raw, raw = raw[:rawSize], raw[rawSize:]
		if id < columnIDs && columnID(id).known() {
			if into[id].present {
				return false
			}
			into[id] = c
		}
	}
	return !f.bad
}

// read gives n rows, in dst if there is room. It reports false if the column
// does not hold just these.
func (c *column) read(dst []uint64, n int) (rows []uint64, ok bool) {
	if cap(dst) < n {
		dst = make([]uint64, n)
	}
	rows = dst[:n]
	if !c.present {
		clear(rows)
		return rows, true
	}
	switch c.encoding {
	case constant:
		f := fields{b: c.payload}
		v := f.uvarint()
		for i := range rows {
			rows[i] = v
		}
		return rows, !f.bad && len(f.b) == 0 && len(c.raw) == 0
	case planes:
		if len(c.payload) < 2 || c.payload[0] > 8 {
			return nil, false
		}
		width, isRaw := int(c.payload[0]), c.payload[1]
		kept, raw := c.payload[2:], c.raw
		ofRaw := bits.OnesCount8(isRaw & uint8(1<<width-1))
		if len(raw) != ofRaw*n || len(kept) != (width-ofRaw)*n {
			return nil, false
		}
		if width == 0 {
			clear(rows)
		}
		for p := range width {
			var plane []byte
			if isRaw&(1<<p) != 0 {
				plane, raw = raw[:n], raw[n:]
			} else {
				plane, kept = kept[:n], kept[n:]
			}
			if p == 0 {
				for i, b := range plane {
					rows[i] = uint64(b)
				}
				continue
			}
			shift := uint(8 * p)
			for i, b := range plane {
				rows[i] |= uint64(b) << (shift & 63)
			}
		}
		return rows, true
	}
	return nil, false
}
