package recording

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/listener"
)

// Who reads a recording, an older program too, need not know how words are made
// to agree with a count.
func TestLossesAreRecordedInPlainWords(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, &Header{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	loss := func(count uint64) []listener.Loss {
		return []listener.Loss{{What: "ring_full", Text: "event[|s] found the buffer full: [its line is|their lines are] missing", Count: count}}
	}
	counts := []uint64{1, 1, 2, 12, 12}
	for i, count := range counts {
		if err := w.WriteSample(&listener.Sample{Time: int64(i), Losses: loss(count)}, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.WriteLosses(9, loss(3)), w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	var got []listener.Loss
	for rec := range r.All() {
		switch rec.Kind {
		case KindSample:
			got = append(got, rec.Sample.Losses...)
		case KindLosses:
			got = append(got, rec.Losses...)
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	var want []listener.Loss
	for _, count := range append(counts, 3) {
		text := "events found the buffer full: their lines are missing"
		if count == 1 {
			text = "event found the buffer full: its line is missing"
		}
		want = append(want, listener.Loss{What: "ring_full", Text: text, Count: count})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
