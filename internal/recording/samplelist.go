package recording

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// list is a list of a sample.
type list struct {
	rows []row
	at   map[identity]int // built when it becomes the list of a key
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

// parseRows is the inverse of sampleWriter.appendRows. It also gives each row's
// row of the key, or -1. Both are valid until the next call.
func (r *sampleReader) parseRows(f *fields, k *list, columns int) (rows []row, of []int32) {
	n := f.count(MaxRows)
	rows, of = slices.Grow(r.rows[:0], n), slices.Grow(r.of[:0], n)
	defer func() { r.rows, r.of = rows[:0], of[:0] }()
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
		var next row
		at := int64(-1)
		if reference := head >> 1; reference != 0 {
			at = int64(due) + unzigzag(reference-1)
			if at < 0 || at >= int64(len(k.rows)) {
				f.bad = true
				break
			}
			next, due = k.rows[at], int(at)+1
		}
		for changed := f.uvarint(); changed != 0; changed &= changed - 1 {
			c, v := bits.TrailingZeros64(changed), uint64(f.varint())
			if c < columns {
				next[c] += v
			}
		}
		rows, of = append(rows, next), append(of, int32(at))
	}
	if f.bad {
		rows, of = rows[:0], of[:0]
	}
	return rows, of
}
