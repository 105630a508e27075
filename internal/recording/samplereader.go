package recording

import (
	"errors"

	"acceptwatch/internal/listener"
)

// sampleReader decodes samples.
type sampleReader struct {
	key    key
	hasKey bool
	rows   []row // scratch of parseRows
	of     []int32
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
	k, isKey := &r.key, flags&sampleKey != 0
	if isKey {
		r.hasKey = false
		k = &key{time: s.Time}
	} else if !r.hasKey || k.time != keyTime {
		return nil, false, errNoKey
	}
	var next key // if this is one
	rows, of := r.parseRows(&f, &k.listeners, listenerColumns)
	if isKey {
		next = key{time: s.Time, listeners: list{rows: r.keepRows(rows)}, waits: make([]*listener.Histogram, len(rows))}
	}
	s.Listeners = make([]listener.Counted, len(rows))
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
		if isKey {
			next.waits[i] = s.Listeners[i].Waits
		}
	}
	rows, _ = r.parseRows(&f, &k.addresses, addressColumns)
	if isKey {
		next.addresses.rows = r.keepRows(rows)
	}
	s.Addresses = make([]listener.AtAddress, 0, len(rows))
	for i := range rows {
		a, ok := rows[i].address()
		if !ok {
			return nil, false, errSample
		}
		s.Addresses = append(s.Addresses, a)
	}
	rows, _ = r.parseRows(&f, &k.errors, errorColumns)
	if isKey {
		next.errors.rows = r.keepRows(rows)
	}
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
	if isKey {
		next.losses = s.Losses
		r.key, r.hasKey = next, true
	}
	return s, flags&sampleWaits != 0, nil
}

// keepRows makes those that parseRows gave last valid for good.
func (r *sampleReader) keepRows(rows []row) []row {
	r.rows = nil
	return rows
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
