package recording

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// told is everything that a reader tells of a file, in words.
func told(r *Reader) string {
	var b strings.Builder
	for rec := range r.All() {
		writeRecord(&b, rec)
		if rec.Damage != nil {
			fmt.Fprintln(&b, rec.Damage)
		}
	}
	fmt.Fprintln(&b, r.Skipped(), r.Err())
	return b.String()
}

// Whatever a file is, the same is read of it.
func TestReadAheadChangesNothing(t *testing.T) {
	file, _ := small(t)
	files := map[string][]byte{"whole": file, "joined": slices.Concat(file, file)}
	for at := 200; at < len(file); at += 97 {
		files[fmt.Sprintf("cut at %d", at)] = file[:at]
		flipped := bytes.Clone(file)
		flipped[at] ^= 0x10
		files[fmt.Sprintf("flipped at %d", at)] = flipped
	}
	for name, file := range files {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			continue // there is no whole header
		}
		want := told(r)
		if r, err = NewReader(bytes.NewReader(file)); err != nil {
			t.Fatal(err)
		}
		stop := r.ReadAhead()
		if got := told(r); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		stop()
		if r.Next() {
			t.Errorf("%s: a record after the end", name)
		}
	}
}

// Who stops in the middle leaves nothing behind, and may go elsewhere before.
func TestReadAheadStopsAndSeeks(t *testing.T) {
	file, want := small(t)
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	stop := r.ReadAhead()
	for range 3 { // from the beginning, the middle and the end
		if err := r.SeekTime(0); err != nil {
			t.Fatal(err)
		}
		n := 0
		for rec := range r.All() {
			if n++; rec.Kind == KindHeader {
				t.Error("the header is read again")
			}
		}
		if n != len(want) || r.Err() != nil {
			t.Errorf("%d of %d records, %v", n, len(want), r.Err())
		}
		_ = r.SeekTime(0)
		r.Next()
	}
	ahead := r.ahead
	stop()
	<-ahead.stopped
	if r.Next() || r.Err() != nil {
		t.Errorf("a record after it was stopped, %v", r.Err())
	}
}

// bomb is a source that panics behind its first bytes.
type bomb struct{ first *bytes.Reader }

func (b bomb) Read(p []byte) (int, error) {
	if b.first.Len() == 0 {
		panic("of the source")
	}
	return b.first.Read(p)
}

// A panic reaches whoever reads, who can catch it, and nobody waits after it.
func TestReadAheadPanicsWhereItIsRead(t *testing.T) {
	file, _ := small(t)
	for _, goesAhead := range []bool{false, true} {
		r, err := NewReader(bomb{bytes.NewReader(file[:len(file)/2])})
		if err != nil {
			t.Fatal(err)
		}
		stop := func() {}
		if goesAhead {
			stop = r.ReadAhead()
		}
		failure := func() (failure any) {
			defer func() { failure = recover() }()
			for r.Next() {
			}
			return nil
		}()
		if text := fmt.Sprint(failure); !strings.HasPrefix(text, "of the source") {
			t.Errorf("ahead %v: panic %v", goesAhead, failure)
		} else if goesAhead && (!strings.Contains(text, "bomb.Read") || r.Next()) {
			t.Errorf("a record after it, or nothing of where it was: %s", text)
		}
		stop()
	}
}

// Who goes elsewhere does so while the source is read.
func TestSeekTimeWaitsForTheReading(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, header(), Options{BlockEvents: 300})
	if err != nil {
		t.Fatal(err)
	}
	all := traffic(3, 60_000, 2_000)
	for i := range all {
		if err := w.WriteEvent(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for skip := range 12 {
		r, err := NewReader(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		stop := r.ReadAhead()
		for range 1200 * skip {
			r.Next()
		}
		if err := r.SeekTime(all[len(all)-1].Time); err != nil {
			t.Fatal(err)
		}
		n := 0
		for range r.All() {
			n++
		}
		if n != len(all) || r.Err() != nil { // no sample in full is nearer than the beginning
			t.Errorf("%d of %d events, %v", n, len(all), r.Err())
		}
		stop()
	}
}
