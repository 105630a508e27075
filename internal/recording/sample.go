package recording

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// A sample is three tables of numbers, histograms and losses. Every few
// seconds it is written in full, as a key; the samples after it say only what
// is different from their key, so that a damaged block takes no sample but its
// own with it.

// Bounds of a sample.
const (
	// MaxRows is the most entries that a list of a sample has.
	MaxRows = 1 << 15
	// MaxBuckets is the most histogram buckets of a sample, counted from the
	// lowest to the highest that is not empty, of all histograms.
	MaxBuckets = 1 << 22

	maxLosses = 1 << 12
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

// list is a list of a sample.
type list struct {
	rows []row
	at   map[identity]int // built when it becomes the list of a key
}

// key is the sample that others are compared with.
type key struct {
	time      int64
	listeners list
	waits     []*listener.Histogram // of listeners
	addresses list
	errors    list
	losses    []listener.Loss
}

var (
	errRows    = errors.New("a list of the sample has too many entries")
	errBuckets = errors.New("the sample has too many buckets of histograms")
	errLosses  = errors.New("the sample has too many losses")
)

const (
	sampleWaits = 1 << 0 // histograms were asked for
	sampleKey   = 1 << 1
)

// sampleWriter encodes samples.
type sampleWriter struct {
	key    key
	hasKey bool
	rows   []row
	of     []int32 // of each row its row of the key; -1: none
}

// append encodes a sample. With asKey it is written in full and becomes the
// key.
func (w *sampleWriter) append(b []byte, s *listener.Sample, waits, asKey bool) ([]byte, error) {
	if max(len(s.Listeners), len(s.Addresses), len(s.AcceptErrors)) > MaxRows {
		return b, errRows
	}
	if len(s.Losses) > maxLosses {
		return b, errLosses
	}
	if spans(s) > MaxBuckets {
		return b, errBuckets
	}
	flags := uint64(0)
	if waits {
		flags |= sampleWaits
	}
	if asKey {
		flags |= sampleKey
		w.key, w.hasKey = key{time: s.Time}, true
	}
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, zigzag(s.Time))
	b = binary.AppendUvarint(b, zigzag(s.Time-w.key.time))

	k := &w.key
	w.rows = w.rows[:0]
	for i := range s.Listeners {
		w.rows = append(w.rows, ofCounted(&s.Listeners[i]))
	}
	b = w.appendRows(b, &k.listeners, listenerColumns, listenerIdentity)
	b = appendWaits(b, s.Listeners, w.of, k.waits)
	if asKey {
		k.listeners = keep(w.rows, listenerIdentity)
		k.waits = cloneWaits(s.Listeners)
	}

	w.rows = w.rows[:0]
	for i := range s.Addresses {
		w.rows = append(w.rows, ofAddress(&s.Addresses[i]))
	}
	b = w.appendRows(b, &k.addresses, addressColumns, addressIdentity)
	if asKey {
		k.addresses = keep(w.rows, addressIdentity)
	}

	w.rows = w.rows[:0]
	for i := range s.AcceptErrors {
		w.rows = append(w.rows, ofError(&s.AcceptErrors[i]))
	}
	b = w.appendRows(b, &k.errors, errorColumns, errorIdentity)
	if asKey {
		k.errors = keep(w.rows, errorIdentity)
	}

	b = appendLosses(b, s.Losses, k.losses)
	if asKey {
		k.losses = append(k.losses[:0], s.Losses...)
	}
	return b, nil
}

func keep(rows []row, identityColumns int) list {
	l := list{rows: append([]row(nil), rows...), at: make(map[identity]int, len(rows))}
	for i := range rows {
		l.at[rows[i].identity(identityColumns)] = i
	}
	return l
}

// appendRows encodes a list: how many rows, then for each either how many rows
// in turn are those of the key, unchanged and in its order, or what a row has
// that its row of the key, or a row of zeros, has not.
func (w *sampleWriter) appendRows(b []byte, k *list, columns, identityColumns int) []byte {
	rows := w.rows
	w.of = w.of[:0]
	b = binary.AppendUvarint(b, uint64(len(rows)))
	due, same := 0, uint64(0) // row of the key; rows that are as they are there
	for i := range rows {
		r := &rows[i]
		at, known := due, due < len(k.rows) && k.rows[due].identity(identityColumns) == r.identity(identityColumns)
		if !known && len(k.at) > 0 {
			at, known = k.at[r.identity(identityColumns)]
		}
		if known && at == due && k.rows[at] == *r {
			w.of = append(w.of, int32(at))
			same++
			due++
			continue
		}
		if same > 0 {
			b = binary.AppendUvarint(b, same<<1)
			same = 0
		}
		var was row
		reference := uint64(0)
		if known {
			was = k.rows[at]
			reference = 1 + zigzag(int64(at-due))
			due = at + 1
			w.of = append(w.of, int32(at))
		} else {
			w.of = append(w.of, -1)
		}
		var changed uint64
		for c := range columns {
			if r[c] != was[c] {
				changed |= 1 << c
			}
		}
		b = binary.AppendUvarint(b, reference<<1|1)
		b = binary.AppendUvarint(b, changed)
		for ; changed != 0; changed &= changed - 1 {
			c := bits.TrailingZeros64(changed)
			b = binary.AppendUvarint(b, zigzag(int64(r[c]-was[c])))
		}
	}
	if same > 0 {
		b = binary.AppendUvarint(b, same<<1)
	}
	return b
}

// parseRows is the inverse of appendRows. It also gives each row's row of the
// key, or -1.
func parseRows(f *fields, k *list, columns int) (rows []row, of []int32) {
	n := f.count(MaxRows)
	rows, of = make([]row, 0, n), make([]int32, 0, n)
	due := 0
	for len(rows) < n && !f.bad {
		head := f.uvarint()
		if head&1 == 0 {
			same := int(min(head>>1, MaxRows+1))
			if same == 0 || same > n-len(rows) || same > len(k.rows)-due {
				f.bad = true
				break
			}
			for range same {
				rows, of = append(rows, k.rows[due]), append(of, int32(due))
				due++
			}
			continue
		}
		var r row
		at := int64(-1)
		if reference := head >> 1; reference != 0 {
			at = int64(due) + unzigzag(reference-1)
			if at < 0 || at >= int64(len(k.rows)) {
				f.bad = true
				break
			}
			r, due = k.rows[at], int(at)+1
		}
		for changed := f.uvarint(); changed != 0; changed &= changed - 1 {
			c, v := bits.TrailingZeros64(changed), uint64(f.varint())
			if c < columns {
				r[c] += v
			}
		}
		rows, of = append(rows, r), append(of, int32(at))
	}
	if f.bad {
		return nil, nil
	}
	return rows, of
}

// How the histogram of a listener is written.
const (
	noWaits   = 0
	ownWaits  = 1 // in full
	keyWaits  = 2 // what is different from that of its row of the key
	sameWaits = 3 // and more: how many rows before there is the same one
)

func appendWaits(b []byte, all []listener.Counted, of []int32, was []*listener.Histogram) []byte {
	at := make(map[*listener.Histogram]int)
	for i := range all {
		h := all[i].Waits
		if h == nil {
			b = append(b, noWaits)
			continue
		}
		if before, ok := at[h]; ok {
			b = binary.AppendUvarint(b, sameWaits+uint64(i-before))
			continue
		}
		at[h] = i
		if of[i] >= 0 && was[of[i]] != nil {
			b = append(b, keyWaits)
			b = appendHistogram(b, h, was[of[i]])
			continue
		}
		b = append(b, ownWaits)
		b = appendHistogram(b, h, &listener.Histogram{})
	}
	return b
}

// appendHistogram encodes what h has that was has not.
func appendHistogram(b []byte, h, was *listener.Histogram) []byte {
	var changes [listener.Buckets]uint64
	for i, n := range h.All() {
		changes[i] = n
	}
	for i, n := range was.All() {
		changes[i] -= n
	}
	different := 0
	for _, n := range changes {
		if n != 0 {
			different++
		}
	}
	longest, known := h.Max()
	b = binary.AppendUvarint(b, zigzag(int64(longest)))
	b = binary.AppendUvarint(b, uint64(different)<<1|truth(known))
	next := 0
	for i, n := range changes {
		if n != 0 {
			b = binary.AppendUvarint(b, uint64(i-next))
			b = binary.AppendUvarint(b, zigzag(int64(n)))
			next = i + 1
		}
	}
	return b
}

// parseHistogram is the inverse of appendHistogram. It gives was itself when
// nothing is different, and takes the buckets of a new one from room.
func parseHistogram(f *fields, was *listener.Histogram, room *int) *listener.Histogram {
	longest := time.Duration(f.varint())
	head := f.count(listener.Buckets<<1 | 1)
	different, known := head>>1, head&1 != 0
	if wasLongest, wasKnown := was.Max(); different == 0 && longest == wasLongest && known == wasKnown {
		return was
	}
	var counts [listener.Buckets]uint64
	for i, n := range was.All() {
		counts[i] = n
	}
	next := 0
	for range different {
		next += f.count(listener.Buckets - 1 - next)
		n := uint64(f.varint())
		if f.bad || next >= listener.Buckets {
			f.bad = true
			return nil
		}
		counts[next] += n
		next++
	}
	first, last := -1, -1
	for i, n := range counts {
		if n != 0 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	var h listener.Histogram
	if first >= 0 {
		if *room -= last - first + 1; *room < 0 {
			f.bad = true
			return nil
		}
	}
	if !known {
		h.NoteMax(longest)
	}
	if first >= 0 {
		// The ends first, so that it makes room only once or twice.
		h.AddBucket(last, counts[last])
		for i := first; i < last; i++ {
			h.AddBucket(i, counts[i])
		}
	}
	if known {
		h.NoteMax(longest)
	}
	return &h
}

// span is how many buckets a histogram holds, empty ones included.
func span(h *listener.Histogram) int {
	first, last := -1, -2
	for i := range h.All() {
		if first < 0 {
			first = i
		}
		last = i
	}
	return last - first + 1
}

// spans is the sum over the different histograms of a sample.
func spans(s *listener.Sample) int {
	n := 0
	seen := make(map[*listener.Histogram]bool)
	for i := range s.Listeners {
		if h := s.Listeners[i].Waits; h != nil && !seen[h] {
			n += span(h)
			seen[h] = true
		}
	}
	return n
}

func cloneWaits(all []listener.Counted) []*listener.Histogram {
	clones := make(map[*listener.Histogram]*listener.Histogram)
	list := make([]*listener.Histogram, len(all))
	for i := range all {
		h := all[i].Waits
		if h == nil {
			continue
		}
		if clones[h] == nil {
			clones[h] = h.Clone()
		}
		list[i] = clones[h]
	}
	return list
}

// appendLosses encodes losses: those whose words the key has by its place
// there.
func appendLosses(b []byte, all, was []listener.Loss) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
next:
	for i := range all {
		l := &all[i]
		for at := range was {
			if was[at].What == l.What && was[at].Text == l.Text {
				b = binary.AppendUvarint(b, uint64(at+1))
				b = binary.AppendUvarint(b, zigzag(int64(l.Count-was[at].Count)))
				continue next
			}
		}
		b = append(b, 0)
		b = appendBytes(b, []byte(l.What))
		b = appendBytes(b, []byte(l.Text))
		b = binary.AppendUvarint(b, l.Count)
	}
	return b
}

func parseLosses(f *fields, was []listener.Loss) []listener.Loss {
	var all []listener.Loss
	for n := f.count(maxLosses); n > 0 && !f.bad; n-- {
		at := f.count(len(was))
		if at > 0 {
			l := was[at-1]
			l.Count += uint64(f.varint())
			all = append(all, l)
			continue
		}
		all = append(all, listener.Loss{What: string(f.bytes()), Text: string(f.bytes()), Count: f.uvarint()})
	}
	return all
}

// sampleReader decodes samples.
type sampleReader struct {
	key    key
	hasKey bool
}

var (
	errSample = errors.New("a sample cannot be understood")
	errNoKey  = errors.New("a sample says only what changed since one that is not here")
)

// parse is the inverse of sampleWriter.append.
func (r *sampleReader) parse(b []byte) (s *listener.Sample, waits bool, err error) {
	f := fields{b: b}
	flags := f.uvarint()
	s = &listener.Sample{Time: f.varint()}
	keyTime := s.Time - f.varint()
	k := &r.key
	if flags&sampleKey != 0 {
		r.hasKey = false
		k = &key{time: s.Time}
	} else if !r.hasKey || k.time != keyTime {
		return nil, false, errNoKey
	}
	rows, of := parseRows(&f, &k.listeners, listenerColumns)
	next := key{time: s.Time, listeners: list{rows: rows}}
	s.Listeners = make([]listener.Counted, len(rows))
	next.waits = make([]*listener.Histogram, len(rows))
	for i := range rows {
		c, ok := rows[i].counted()
		if !ok {
			return nil, false, errSample
		}
		s.Listeners[i] = c
	}
	room := MaxBuckets
	for i := range s.Listeners {
		s.Listeners[i].Waits = r.parseWaits(&f, s.Listeners, i, of[i], k, &room)
		next.waits[i] = s.Listeners[i].Waits
	}
	rows, _ = parseRows(&f, &k.addresses, addressColumns)
	next.addresses.rows = rows
	s.Addresses = make([]listener.AtAddress, 0, len(rows))
	for i := range rows {
		a, ok := rows[i].address()
		if !ok {
			return nil, false, errSample
		}
		s.Addresses = append(s.Addresses, a)
	}
	rows, _ = parseRows(&f, &k.errors, errorColumns)
	next.errors.rows = rows
	s.AcceptErrors = make([]listener.AcceptError, 0, len(rows))
	for i := range rows {
		e, ok := rows[i].acceptError()
		if !ok {
			return nil, false, errSample
		}
		s.AcceptErrors = append(s.AcceptErrors, e)
	}
	s.Losses = parseLosses(&f, k.losses)
	if f.bad {
		return nil, false, errSample
	}
	if flags&sampleKey != 0 {
		next.losses = s.Losses
		r.key, r.hasKey = next, true
	}
	return s, flags&sampleWaits != 0, nil
}

func (r *sampleReader) parseWaits(f *fields, all []listener.Counted, i int, of int32, k *key, room *int) *listener.Histogram {
	switch code := f.uvarint(); {
	case code == noWaits || f.bad:
		return nil
	case code == ownWaits:
		return parseHistogram(f, &listener.Histogram{}, room)
	case code == keyWaits && of >= 0 && k.waits[of] != nil:
		return parseHistogram(f, k.waits[of], room)
	case code > sameWaits && code-sameWaits <= uint64(i):
		if h := all[i-int(code-sameWaits)].Waits; h != nil {
			return h
		}
	}
	f.bad = true
	return nil
}
