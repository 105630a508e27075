package recording

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// readEverything calls everything that a reader and what it gives have.
func readEverything(t *testing.T, file []byte) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		_ = err.Error()
		return
	}
	table := listener.New(listener.Options{MaxRows: 100, MaxDead: 100})
	emit := func(*event.Event) {}
	var latest int64
	offset := int64(-1)
	for rec := range r.All() {
		writeRecord(io.Discard, rec)
		switch rec.Kind {
		case KindEvent:
			if rec.Event.Time < 0 || rec.Event.Queued < 0 {
				t.Fatalf("event of time %d, queued %d", rec.Event.Time, rec.Event.Queued)
			}
			latest = max(latest, rec.Event.Time)
			table.Apply(rec.Event, emit)
		case KindSample:
			table.Update(rec.Sample, emit)
			for i := range rec.Sample.Listeners {
				if h := rec.Sample.Listeners[i].Waits; h != nil {
					h.Quantile(0.9)
					h.Clone().Merge(h)
				}
			}
		case KindClock:
			_ = rec.Clock.At(latest).String()
		case KindDamage:
			if rec.Damage.Offset < offset || rec.Damage.Offset+rec.Damage.Length > int64(len(file)) {
				t.Fatalf("%v, of %d bytes, after one at %d", rec.Damage, len(file), offset)
			}
			offset = rec.Damage.Offset
			_ = rec.Damage.Error()
		}
	}
	if r.Err() != nil {
		_ = r.Err().Error()
	}
	r.Skipped()
	table.Rows()
	for _, at := range []int64{0, latest / 2, latest + 1} {
		if err := r.SeekTime(at); err != nil {
			continue
		}
		for n := 0; n < 100 && r.Next(); n++ {
			writeRecord(io.Discard, r.Record())
		}
	}
}

// Whole files, and the damage that chance does to them.
func FuzzReader(f *testing.F) {
	file, _ := small(f)
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add(append(bytes.Clone(file), file...))
	if golden, err := os.ReadFile("testdata/v1.0.trace"); err == nil {
		f.Add(golden)
	} else {
		f.Fatal(err)
	}
	f.Fuzz(readEverything)
}

// What a hostile writer puts behind good checksums: any content of any frames.
func FuzzContent(f *testing.F) {
	file, _ := small(f)
	open := newOpener()
	for at := 0; at < len(file); {
		h, _ := parseHead(file[at:])
		compressed, raw, err := open.open(&h, file[at:][:h.length], new([]byte))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(h.kind), uint16(h.events), h.time, bytes.Clone(compressed), bytes.Clone(raw))
		at += int(h.length)
	}
	frames := framesOfOnly(f, file)
	begin, end := file[:frames[1].offset], file[frames[len(frames)-2].offset:]
	seal := newSealer()
	f.Fuzz(func(t *testing.T, kind uint8, events uint16, at int64, compressed, raw []byte) {
		h := head{kind: frameType(kind), major: Major, events: uint32(events) % (MaxEvents + 1), time: at}
		frame, err := seal.seal(&h, compressed, raw)
		if err != nil {
			return
		}
		readEverything(t, slices.Concat(begin, frame, end))
	})
}

// Blocks, without the way through frames: many more in the same time.
func FuzzBlock(f *testing.F) {
	r := rand.New(rand.NewPCG(6, 6))
	for n := range 4 {
		w := newBlockWriter()
		e := &event.Event{Family: 2}
		for range 3 * n {
			e = anyEvent(r, e)
			w.event(e)
		}
		w.record(recordMark, appendMark(nil, Mark{MarkEnd, 5}))
		compressed, raw := w.content()
		f.Add(uint16(w.n), int64(n), bytes.Clone(compressed), bytes.Clone(raw))
	}
	var b blockReader // used again, as a Reader does
	f.Fuzz(func(t *testing.T, events uint16, base int64, compressed, raw []byte) {
		n := int(events) % (MaxEvents + 1)
		ok := b.begin(base, n, compressed, raw)
		got := 0
		for {
			record, isRecord := b.nextRecord()
			var e event.Event
			if !isRecord && !b.nextEvent(&e) {
				break
			}
			if isRecord {
				parseMark(record.payload)
				parseClock(record.payload)
				parseOwners(record.payload)
				continue
			}
			got++
			if e.Time < 0 || e.Queued < 0 {
				t.Fatalf("event of time %d, queued %d", e.Time, e.Queued)
			}
			writeEvent(io.Discard, &e)
		}
		if ok && got != n || !ok && got != 0 {
			t.Fatalf("%d of %d events, good: %v", got, n, ok)
		}
	})
}

// Samples, after one that is good.
func FuzzSample(f *testing.F) {
	r := rand.New(rand.NewPCG(4, 4))
	var w sampleWriter
	s := anySample(r, &listener.Sample{})
	key, err := w.append(nil, s, true, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key)
	for range 5 {
		s = anySample(r, s)
		b, err := w.append(nil, s, true, false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r sampleReader
		if _, _, err := r.parse(key); err != nil {
			t.Fatal(err)
		}
		s, waits, err := r.parse(b)
		if err != nil {
			return
		}
		// What can be read can be written, and is then read the same.
		var w sampleWriter
		again, err := w.append(nil, s, waits, true)
		if err != nil {
			t.Fatal(err)
		}
		var r2 sampleReader
		got, _, err := r2.parse(again)
		if err != nil || !equal(&entry{sample: s}, &entry{sample: got}) {
			t.Fatalf("%v: %v, then %v", err, entry{sample: s}, entry{sample: got})
		}
	})
}

// The worst that a file can ask for, by few bytes each.
func TestHostileFileStaysBelowTheStatedMemory(t *testing.T) {
	begin, _ := small(t)
	begin = begin[:framesOfOnly(t, begin)[1].offset]
	file := bytes.Clone(begin)
	block := func(records ...[]byte) {
		w := newBlockWriter()
		for _, b := range records {
			w.record(recordType(b[0]), b[1:])
		}
		compressed, raw := w.content()
		file = append(file, sealed(t, head{kind: blockFrame, major: Major, flags: flagEntry}, compressed, raw)...)
	}
	long := func(kind recordType, b []byte) {
		flag := byte(partFirst)
		for len(b) > 0 {
			n := min(len(b), 1_000_000)
			if n == len(b) {
				flag |= partLast
			}
			block(append([]byte{byte(recordPart), flag, byte(kind)}, b[:n]...))
			b, flag = b[n:], 0
		}
	}
	// Keys of as many rows and buckets as there may be, then samples of "the
	// same again", and records of as many bytes.
	for range 3 {
		b := []byte{sampleWaits | sampleKey, 0, 0}
		b = binary.AppendUvarint(b, MaxRows)
		for range MaxRows {
			b = append(b, 1, 1, 2) // new, with an id of 1
		}
		for i := range MaxRows {
			if i >= MaxBuckets/listener.Buckets {
				b = append(b, noWaits)
				continue
			}
			b = append(b, ownWaits, 0, 2<<1, 0, 2)
			b = binary.AppendUvarint(b, listener.Buckets-2)
			b = append(b, 2)
		}
		for range 2 { // addresses, errors
			b = binary.AppendUvarint(b, MaxRows)
			for range MaxRows {
				b = append(b, 1, 1, 2)
			}
		}
		long(recordSample, append(b, 0))
		same := []byte{0, 0, 0}
		same = binary.AppendUvarint(binary.AppendUvarint(same, MaxRows), MaxRows<<1)
		for i := range MaxRows {
			if i < MaxBuckets/listener.Buckets {
				same = append(same, keyWaits, 2, 0) // of another greatest wait
			} else {
				same = append(same, noWaits)
			}
		}
		for range 2 {
			same = binary.AppendUvarint(binary.AppendUvarint(same, MaxRows), MaxRows<<1)
		}
		long(recordSample, append(same, 0))
		long(recordLosses, append(append(append([]byte{1, 0}, binary.AppendUvarint(nil, MaxRecord-20)...), make([]byte, MaxRecord-20)...), 0, 1))
		long(recordOwners, bytes.Repeat([]byte("["), MaxRecord-1))
		for _, list := range []string{"listening", "held"} {
			for _, n := range []int{maxObjects - 2, maxOwners / 3} {
				long(recordOwners, append(append([]byte(`{"`+list+`":[{}`), bytes.Repeat([]byte(",{}"), n)...), "]}"...))
			}
		}
	}
	// Samples that end after they have made much of little.
	for range 100 {
		block([]byte{byte(recordSample), sampleKey, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	}
	t.Logf("%d bytes", len(file))

	held := func() uint64 {
		var now runtime.MemStats
		runtime.GC() // what is not held does not count
		runtime.ReadMemStats(&now)
		return now.HeapAlloc
	}
	before, peak := held(), uint64(0)
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.ReadAhead()()
	samples := 0
	for rec := range r.All() {
		if rec.Kind == KindSample {
			samples++
		}
		peak = max(peak, held()) // with the record, and the frames after it
	}
	if samples != 6 {
		t.Errorf("%d of 6 samples were taken", samples)
	}
	taken := peak - before
	t.Logf("peak of %d MiB", taken>>20)
	if taken > MaxMemory {
		t.Errorf("took %d MiB, said at most %d", taken>>20, MaxMemory>>20)
	}
}
