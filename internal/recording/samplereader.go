package recording

import (
	"errors"

	"acceptwatch/internal/listener"
)

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
