package recording

import (
	"encoding/binary"
	"time"

	"acceptwatch/internal/listener"
)

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
