package recording

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/listener"
)

// A part of a recording tells of another count than was recorded.
func TestWordsOfLossesAgreeWithAnyCount(t *testing.T) {
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
	var got, want []listener.Loss
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
	for _, count := range append(counts, 3) {
		want = append(want, loss(count)...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Up to 1.1 the words were those of the recorded count.
func TestLossesOfOlderFilesKeepTheirWords(t *testing.T) {
	file, err := os.ReadFile("testdata/v1.1.trace")
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rec := range r.All() {
		for _, l := range rec.Losses {
			got = append(got, l.String())
		}
	}
	if r.Err() != nil || len(got) != 1 || got[0] != "1 samples were too large" {
		t.Errorf("%q, %v", got, r.Err())
	}
}
