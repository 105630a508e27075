package recording

import (
	"encoding/binary"
	"errors"

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
