package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"acceptwatch/internal/event"
)

// sealed is a frame by itself.
func sealed(t *testing.T, h head, compressed, raw []byte) []byte {
	t.Helper()
	b, err := newSealer().seal(&h, compressed, raw)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b)
}

func TestALaterMinorVersionIsReadWithoutWhatItAdds(t *testing.T) {
	file, want := small(t)
	frames := framesOfOnly(t, file)
	later := slices.Clone(file[:frames[1].offset])
	// A block with columns, encodings and records that this version does not know.
	e := *traffic1()
	w := newBlockWriter()
	w.event(&e)
	w.record(99, []byte("what"))
	w.record(recordMark, appendMark(nil, Mark{MarkWalk, 5}))
	w.record(recordPart, append([]byte{partFirst | partLast, 77}, "what"...))
	compressed, raw := w.content()
	at := 0
	for range 3 { // classes, places, threads
		_, n := binary.Uvarint(compressed[at:])
		at += n
	}
	columns := compressed[at]
	changed := append(slices.Clone(compressed[:at]), columns+2)
	changed = append(changed, 0x1e, 9, 3, 2, 'a', 'b')  // of classes, encoding 9, 3 bytes raw
	changed = append(changed, 0xf0, 0x01, 0, 0, 1, 'c') // of a table that there is not
	changed = append(changed, compressed[at+1:]...)     //
	raw = slices.Concat([]byte("abc"), raw)             //
	h := head{kind: blockFrame, major: Major, minor: 7, events: 1}
	later = append(later, sealed(t, h, changed, raw)...)
	later = append(later, sealed(t, head{kind: 9, major: Major, minor: 7}, []byte("what"), nil)...)
	later = append(later, file[frames[1].offset:]...)

	r, err := NewReader(bytes.NewReader(later))
	if err != nil {
		t.Fatal(err)
	}
	var got []entry
	for rec := range r.All() {
		switch rec.Kind {
		case KindHeader:
		case KindDamage:
			t.Error(rec.Damage)
		default:
			rec := *rec
			got = append(got, entryOf(&rec))
		}
	}
	if r.Err() != nil || r.Skipped() != 3 {
		t.Errorf("%v, skipped %d, want 3", r.Err(), r.Skipped())
	}
	check(t, append([]entry{{event: &e}, {mark: &Mark{MarkWalk, 5}}}, want...), got)
}

func TestHeaderOfALaterMinorVersion(t *testing.T) {
	b := []byte(`{"format":"acceptwatch trace","minor":3,"colour":{"sky":"blue"},"mode":"fentry"}`)
	r, err := NewReader(bytes.NewReader(sealed(t, head{kind: headerFrame, major: Major, minor: 3}, b, nil)))
	if err != nil || r.Header().Mode != "fentry" {
		t.Errorf("%v, %+v", err, r.Header())
	}
}

func TestALaterMajorVersionIsRefusedInOneSentence(t *testing.T) {
	for _, major := range []uint8{0, Major + 1, 255} {
		file := sealed(t, head{kind: headerFrame, major: major, minor: 4}, []byte("whatever"), nil)
		_, err := NewReader(bytes.NewReader(file))
		var version *VersionError
		if !errors.As(err, &version) || version.Major != int(major) || version.Minor != 4 || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("got %v", err)
		}
	}
	// In the middle, as cat would make it.
	file, want := small(t)
	got, _, err := readAll(t, slices.Concat(file, sealed(t, head{kind: headerFrame, major: 2}, nil, nil)))
	if !errors.As(err, new(*VersionError)) {
		t.Errorf("got %v", err)
	}
	check(t, want, got)
}

// The table of versions is walked from the one of the file to the present one.
func TestOlderVersionsAreUpgradedStepByStep(t *testing.T) {
	file, want := small(t)
	var steps []string
	step := func(name string, change func(*event.Event)) func(*Record) {
		return func(rec *Record) {
			if rec.Kind == KindEvent {
				change(rec.Event)
			}
			if rec.Kind == KindHeader {
				steps = append(steps, name)
			}
		}
	}
	future := []format{
		{major: 0, upgrade: step("0 to 1", func(e *event.Event) { e.Depth = 0 })},
		{major: 1, upgrade: step("1 to 2", func(e *event.Event) { e.Repeats++ })},
		{major: 2, upgrade: step("2 to 3", func(e *event.Event) { e.Repeats *= 2 })},
		{major: 3},
	}
	r, err := newReader(bytes.NewReader(file), future)
	if err != nil {
		t.Fatal(err)
	}
	var got []entry
	for rec := range r.All() {
		if rec.Kind != KindHeader {
			rec := *rec
			got = append(got, entryOf(&rec))
		}
	}
	if !slices.Equal(steps, []string{"1 to 2", "2 to 3"}) || r.Err() != nil {
		t.Errorf("%v, steps %v", r.Err(), steps)
	}
	for i := range want {
		if want[i].event != nil {
			e := *want[i].event
			e.Repeats = (e.Repeats + 1) * 2
			want[i].event = &e
		}
	}
	check(t, want, got)
}

func TestVersionsAreWithoutGaps(t *testing.T) {
	all := formats()
	for i, f := range all {
		if int(f.major) != i+1 || (f.upgrade == nil) != (i == len(all)-1) {
			t.Errorf("entry %d is of version %d", i, f.major)
		}
	}
	if all[len(all)-1].major != Major {
		t.Errorf("the last is not %d", Major)
	}
}

func TestSchemaDescribesEachColumnOnce(t *testing.T) {
	e := *traffic1()
	seen := make(map[int]bool)
	for _, c := range Schema() {
		if seen[c.ID] || c.Name == "" {
			t.Errorf("column %#x is there twice, or has no name", c.ID)
		}
		seen[c.ID] = true
	}
	// All that can be different from 0.
	e.Local, e.Peer = addressOf(t, 16), addressOf(t, 16)
	e.Queued, e.Cookie, e.Repeats, e.FD, e.Errno, e.Flags, e.Ifindex, e.Inode = 1, 1, 1, 1, 1, 1, 1, 1
	e.Comm = event.Comm{0: 'a', 15: 'b'}
	e.Unread, e.Depth, e.DepthAtEntry = 1, 1, 1
	four := e
	four.Peer = addressOf(t, 4)
	four.PID++
	w := newBlockWriter()
	w.event(&e)
	w.event(&four)
	compressed, raw := w.content()
	f := fields{b: compressed}
	f.b = f.b[3:]
	var parsed [columnIDs]column
	if !parseColumns(&f, raw, &parsed) {
		t.Fatal("cannot be parsed")
	}
	// The row of places and of threads 1 are there; of places only with two.
	for id, c := range parsed {
		if c.present && !seen[id] {
			t.Errorf("column %#x is not described", id)
		}
		if !c.present && seen[id] && columnID(id) != colPlace {
			t.Errorf("column %#x is described, and not written", id)
		}
	}
}
