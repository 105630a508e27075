package recording

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// small is a trace of a few frames that holds everything, and what it holds.
func small(t testing.TB) (file []byte, want []entry) {
	t.Helper()
	want = anything(4, 40)
	var b bytes.Buffer
	w, err := NewWriter(&b, header(), Options{BlockEvents: 8})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if err := want[i].write(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), want
}

// frameOf is a frame of a trace and what a reader has read after it.
type frameOf struct {
	offset, length int64
	kind           frameType
	entries        int // up to its end
}

func framesOf(t testing.TB, file []byte) []frameOf {
	t.Helper()
	var list []frameOf
	for at := 0; at < len(file); {
		h, ok := parseHead(file[at:])
		if !ok {
			t.Fatalf("no frame at byte %d", at)
		}
		at += int(h.length)
		f := frameOf{offset: int64(at) - int64(h.length), length: int64(h.length), kind: h.kind}
		if h.kind != headerFrame {
			entries, _, _ := readAll(t, file[:at])
			f.entries = len(entries)
		}
		list = append(list, f)
	}
	return list
}

func TestCutAtEveryByte(t *testing.T) {
	file, want := small(t)
	frames := framesOf(t, file)
	if len(frames) < 6 {
		t.Fatalf("only %d frames", len(frames))
	}
	for cut := range len(file) {
		whole := 0
		for whole < len(frames) && frames[whole].offset+frames[whole].length <= int64(cut) {
			whole++
		}
		torn := TornError{Tail: int64(cut)}
		entries := 0
		if whole > 0 {
			last := frames[whole-1]
			torn = TornError{Offset: last.offset + last.length, Tail: int64(cut) - last.offset - last.length}
			entries = last.entries
		}
		got, damage, err := readAll(t, file[:cut])
		var said *TornError
		if !errors.As(err, &said) || *said != torn || len(damage) > 0 {
			t.Fatalf("cut at byte %d: got %v, damage %v, want %v", cut, err, damage, &torn)
		}
		check(t, want[:entries], got)
	}
}

// Without the damaged frame, everything is read that needs no key of there.
func TestFlippedBitIsNoTornTail(t *testing.T) {
	file, _ := small(t)
	frames := framesOf(t, file)
	without := make([][]entry, len(frames)) // what is read if a frame is missing
	for i, f := range frames {
		if i > 0 {
			without[i], _, _ = readAll(t, slices.Concat(file[:f.offset], file[f.offset+f.length:]))
		} else {
			without[i], _, _ = readAll(t, file)
		}
	}
	for at := range file {
		i := slices.IndexFunc(frames, func(f frameOf) bool { return int64(at) < f.offset+f.length })
		f := frames[i]
		bit := at * 5 % 8
		file[at] ^= 1 << bit
		got, damage, err := readAll(t, file)
		file[at] ^= 1 << bit
		if err != nil {
			t.Fatalf("bit %d of byte %d flipped: %v", bit, at, err)
		}
		damage = slices.DeleteFunc(damage, func(d *CorruptError) bool { return errors.Is(d, errNoKey) })
		if len(damage) != 1 || damage[0].Offset != f.offset || damage[0].Length != f.length {
			t.Fatalf("bit %d of byte %d flipped, in the frame at %d of %d bytes: got damage %v", bit, at, f.offset, f.length, damage)
		}
		check(t, without[i], got)
	}
}

func TestDamageAndThenTornTail(t *testing.T) {
	file, _ := small(t)
	frames := framesOf(t, file)
	for i := 2; i < len(frames)-1; i++ {
		f, next := frames[i-1], frames[i]
		for _, at := range []int64{f.offset + 4, f.offset + f.length - 1} {
			broken := slices.Clone(file[:next.offset+headSize])
			broken[at] ^= 0x10
			_, damage, err := readAll(t, broken)
			var torn *TornError
			if !errors.As(err, &torn) || torn.Offset != next.offset || torn.Tail != headSize {
				t.Errorf("frame %d damaged and %d cut: got %v", i-1, i, err)
			}
			if len(damage) == 0 || damage[0].Offset != f.offset || damage[0].Length != f.length {
				t.Errorf("frame %d damaged and %d cut: got damage %v", i-1, i, damage)
			}
		}
	}
}

func TestDamageOfManyBytes(t *testing.T) {
	file, _ := small(t)
	frames := framesOf(t, file)
	first, last := frames[2], frames[4]
	for name, fill := range map[string]byte{"zeros": 0, "magic": 0x28, "ones": 0xff} {
		broken := slices.Clone(file)
		for at := first.offset; at < last.offset+last.length; at++ {
			broken[at] = fill
		}
		_, damage, err := readAll(t, broken)
		if err != nil || len(damage) == 0 || damage[0].Offset != first.offset ||
			damage[0].Length != last.offset+last.length-first.offset || !errors.Is(damage[0], errHead) {
			t.Errorf("%s: got %v, damage %v", name, err, damage)
		}
	}
}

func TestWhatIsNoTrace(t *testing.T) {
	for name, file := range map[string][]byte{
		"text":          []byte("type,time\naccepted,1\n"),
		"zeros":         make([]byte, 3*MaxFrame),
		"another zstd":  {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x01, 0x09, 0x00, 0x00, 0x41},
		"a single byte": {0},
		"only an end":   sealed(t, head{kind: endFrame, major: Major}, nil, nil),
	} {
		if _, err := NewReader(bytes.NewReader(file)); !errors.Is(err, ErrNotTrace) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestErrorsOfTheSourceAreNoDamage(t *testing.T) {
	file, _ := small(t)
	failed := errors.New("cable pulled")
	for _, n := range []int{0, 1, headSize, 1000, len(file) - 1, len(file)} {
		r, err := NewReader(&failing{bytes.NewReader(file[:n]), failed})
		if err == nil {
			for r.Next() {
				if rec := r.Record(); rec.Kind == KindDamage {
					t.Errorf("after %d bytes: %v", n, rec.Damage)
				}
			}
			err = r.Err()
		}
		if !errors.Is(err, failed) {
			t.Errorf("after %d bytes: got %v", n, err)
		}
	}
}

// failing gives an error instead of the end.
type failing struct {
	r   *bytes.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b[:min(len(b), 100)])
	if err != nil {
		err = f.err
	}
	return n, err
}

func TestJoinedTracesAreReadInTurn(t *testing.T) {
	file, want := small(t)
	got, damage, err := readAll(t, slices.Concat(file, file))
	if err != nil || len(damage) > 0 {
		t.Fatal(err, damage)
	}
	check(t, slices.Concat(want, want), got)
}

// framesOfOnly is framesOf without counting entries.
func framesOfOnly(t testing.TB, file []byte) []frameOf {
	t.Helper()
	var list []frameOf
	for at := 0; at < len(file); {
		h, ok := parseHead(file[at:])
		if !ok {
			t.Fatalf("no frame at byte %d", at)
		}
		list = append(list, frameOf{offset: int64(at), length: int64(h.length), kind: h.kind})
		at += int(h.length)
	}
	return list
}

// A block is written when it is a second old, whatever happens to make time go on.
func TestNothingStaysUnwrittenForMoreThanASecond(t *testing.T) {
	for name, later := range map[string]func(w *Writer, at int64) error{
		"tick":   func(w *Writer, at int64) error { return w.Tick(at) },
		"sample": func(w *Writer, at int64) error { return w.WriteSample(sampleOf(nil, at, false), false) },
		"mark":   func(w *Writer, at int64) error { return w.WriteMark(Mark{MarkRead, at}) },
		"event": func(w *Writer, at int64) error {
			e := traffic(1, 1, 1)[0]
			e.Time = at
			return w.WriteEvent(&e)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w, err := NewWriter(&b, header(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			e := traffic(2, 1, 1)[0]
			if err := w.WriteEvent(&e); err != nil {
				t.Fatal(err)
			}
			size := b.Len()
			if err := later(w, e.Time+second-1); err != nil || b.Len() != size {
				t.Errorf("a ns before: %v, %d bytes more", err, b.Len()-size)
			}
			if err := later(w, e.Time+second); err != nil {
				t.Fatal(err)
			}
			got, _, _ := readAll(t, b.Bytes())
			if len(got) == 0 || got[0].event == nil || *got[0].event != e {
				t.Errorf("after 1 s: %v", got)
			}
		})
	}
}

// limited takes so many bytes.
type limited struct {
	bytes.Buffer
	room int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.room-l.Len())
	l.Buffer.Write(b[:n])
	if n < len(b) {
		return n, l.err
	}
	return n, nil
}

func TestWriterThatHasNoRoomSaysSoAtOnce(t *testing.T) {
	file, want := small(t)
	for room := 0; room < len(file); room += 97 {
		for _, cause := range []error{errors.New("no"), nil} { // nil: a short write
			l := &limited{room: room, err: cause}
			w, err := NewWriter(l, header(), Options{BlockEvents: 8})
			for i := 0; i < len(want) && err == nil; i++ {
				err = want[i].write(w)
			}
			if err == nil {
				err = w.Close()
			}
			var failed *WriteError
			if !errors.As(err, &failed) || cause != nil && !errors.Is(err, cause) {
				t.Fatalf("room for %d bytes: got %v", room, err)
			}
			got, damage, torn := readAll(t, l.Bytes())
			var at *TornError
			if !errors.As(torn, &at) || at.Offset != failed.Offset || len(damage) > 0 {
				t.Fatalf("room for %d bytes: error says %d, reader says %v, %v", room, failed.Offset, torn, damage)
			}
			check(t, want[:len(got)], got)
			if w == nil {
				continue
			}
			size := l.Len()
			for name, again := range map[string]error{
				"event": w.WriteEvent(traffic1()), "sample": w.WriteSample(sampleOf(nil, 0, false), false),
				"mark": w.WriteMark(Mark{}), "tick": w.Tick(int64(time.Hour)), "flush": w.Flush(), "close": w.Close(),
			} {
				if fmt.Sprint(again) != fmt.Sprint(err) {
					t.Errorf("%s after %v: got %v", name, err, again)
				}
			}
			if l.Len() != size {
				t.Error("wrote after an error")
			}
		}
	}
}
