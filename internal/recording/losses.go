package recording

import (
	"encoding/binary"

	"acceptwatch/internal/listener"
)

// appendLosses encodes losses: those whose words the key has by its place there.
// The words have their choices: who reads them may tell of another count, as of a
// part of the recording.
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
