package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// entry is something that was recorded.
type entry struct {
	event    *event.Event
	sample   *listener.Sample
	waits    bool
	mark     *Mark
	clock    *Clock
	owners   *Owners
	evidence *diagnose.Evidence
	losses   []listener.Loss
}

// recording is what all kinds of recordings can do.
type recording interface {
	WriteEvent(*event.Event) error
	WriteSample(*listener.Sample, bool) error
	WriteMark(Mark) error
	WriteClock(Clock) error
	WriteOwners(*Owners) error
	WriteEvidence(*diagnose.Evidence) error
	WriteLosses(int64, []listener.Loss) error
	Tick(int64) error
	Flush() error
}

var _ = []recording{(*Writer)(nil), (*File)(nil), (*Flight)(nil)}

func (e *entry) write(w recording) error {
	switch {
	case e.event != nil:
		return w.WriteEvent(e.event)
	case e.sample != nil:
		return w.WriteSample(e.sample, e.waits)
	case e.mark != nil:
		return w.WriteMark(*e.mark)
	case e.clock != nil:
		return w.WriteClock(*e.clock)
	case e.owners != nil:
		return w.WriteOwners(e.owners)
	case e.evidence != nil:
		return w.WriteEvidence(e.evidence)
	}
	return w.WriteLosses(0, e.losses)
}

// entryOf copies a record.
func entryOf(rec *Record) entry {
	switch rec.Kind {
	case KindEvent:
		e := *rec.Event
		return entry{event: &e}
	case KindSample:
		return entry{sample: rec.Sample, waits: rec.Waits}
	case KindMark:
		return entry{mark: &rec.Mark}
	case KindClock:
		return entry{clock: &rec.Clock}
	case KindOwners:
		return entry{owners: rec.Owners}
	case KindEvidence:
		return entry{evidence: rec.Evidence}
	}
	return entry{losses: rec.Losses}
}

func readAll(t testing.TB, file []byte) (entries []entry, damage []*CorruptError, err error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	for rec := range r.All() {
		switch rec.Kind {
		case KindHeader:
		case KindDamage:
			damage = append(damage, rec.Damage)
		default:
			rec := *rec
			entries = append(entries, entryOf(&rec))
		}
	}
	return entries, damage, r.Err()
}

// check fails the test if what was read is not what was written.
func check(t *testing.T, want, got []entry) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if !equal(&want[i], &got[i]) {
			t.Fatalf("entry %d of %d:\nwrote %s\nread  %s", i, len(want), want[i], got[i])
		}
	}
	if len(want) != len(got) {
		t.Fatalf("wrote %d entries, read %d", len(want), len(got))
	}
}

func equal(a, b *entry) bool {
	if a.event != nil && b.event != nil {
		return *a.event == *b.event
	}
	if a.sample == nil || b.sample == nil {
		return reflect.DeepEqual(a, b)
	}
	counts := func(a, b listener.Counted) bool {
		if !equalHistograms(a.Waits, b.Waits) {
			return false
		}
		a.Waits, b.Waits = nil, nil
		return a == b
	}
	return a.waits == b.waits && a.sample.Time == b.sample.Time &&
		slices.EqualFunc(a.sample.Listeners, b.sample.Listeners, counts) &&
		slices.Equal(a.sample.Addresses, b.sample.Addresses) &&
		slices.Equal(a.sample.AcceptErrors, b.sample.AcceptErrors) &&
		slices.Equal(a.sample.Losses, b.sample.Losses)
}

// equalHistograms compares everything that getters tell.
func equalHistograms(a, b *listener.Histogram) bool {
	if a == nil || b == nil {
		return a == b
	}
	counts := func(h *listener.Histogram) (all [listener.Buckets]uint64) {
		for i, n := range h.All() {
			all[i] = n
		}
		return all
	}
	longestA, knownA := a.Max()
	longestB, knownB := b.Max()
	return a.Count() == b.Count() && longestA == longestB && knownA == knownB &&
		a.Quantile(0.5) == b.Quantile(0.5) && a.Quantile(1) == b.Quantile(1) && counts(a) == counts(b)
}

func (e entry) String() string {
	rec := Record{Kind: KindLosses, Losses: e.losses}
	switch {
	case e.event != nil:
		rec = Record{Kind: KindEvent, Event: e.event}
	case e.sample != nil:
		rec = Record{Kind: KindSample, Sample: e.sample, Waits: e.waits}
	case e.mark != nil:
		rec = Record{Kind: KindMark, Mark: *e.mark}
	case e.clock != nil:
		rec = Record{Kind: KindClock, Clock: *e.clock}
	case e.owners != nil:
		rec = Record{Kind: KindOwners, Owners: e.owners}
	case e.evidence != nil:
		rec = Record{Kind: KindEvidence, Evidence: e.evidence}
	}
	var b strings.Builder
	writeRecord(&b, &rec)
	return b.String()
}

// anyEvent is one that Decode can yield: rarely or often like the one before.
func anyEvent(r *rand.Rand, was *event.Event) *event.Event {
	raw := event.Append(nil, was)
	for range r.IntN(12) {
		at := r.IntN(event.Size)
		raw[at] = byte(r.Uint32())
		if r.IntN(4) == 0 {
			raw[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		}
	}
	raw[106] = byte(1 + r.IntN(int(event.AcceptError)))
	raw[107] = []byte{2, 10}[r.IntN(2)]
	if raw[106] == byte(event.AcceptError) && r.IntN(2) == 0 {
		raw[107] = 0
	}
	raw[7] &= 0x7f
	raw[15] = 0
	raw[14] &= 0x1f
	var e event.Event
	if err := event.Decode(raw, &e); err != nil {
		panic(err)
	}
	return &e
}

func anyKey(r *rand.Rand) listener.Key {
	k := listener.Key{NetNS: r.Uint32() >> r.IntN(32), Ifindex: r.Uint32() >> r.IntN(32)}
	switch port := uint16(r.Uint32()); r.IntN(4) {
	case 0:
	case 1:
		k.Addr = netip.AddrPortFrom(address(r.Uint32()), port)
	case 2:
		k.Addr = netip.AddrPortFrom(netip.AddrFrom16(address(r.Uint32()).As16()), port)
	case 3:
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		k.Addr = netip.AddrPortFrom(netip.AddrFrom16(b), port)
	}
	return k
}

func anyHistogram(r *rand.Rand) *listener.Histogram {
	var h listener.Histogram
	switch r.IntN(3) {
	case 0:
		for range r.IntN(40) {
			h.AddBucket(r.IntN(listener.Buckets), r.Uint64()>>r.IntN(64))
		}
		if r.IntN(2) == 0 {
			h.NoteMax(time.Duration(r.Int64() >> r.IntN(63)))
		}
	default:
		for range r.IntN(40) {
			h.Add(time.Duration(r.Int64() >> r.IntN(63)))
		}
	}
	return &h
}

func number(r *rand.Rand) uint64 { return r.Uint64() >> r.IntN(64) }

// anySample has a part of what the one before had, changed and unchanged, and
// something new.
func anySample(r *rand.Rand, was *listener.Sample) *listener.Sample {
	s := &listener.Sample{Time: int64(number(r) >> 1)}
	shared := anyHistogram(r)
	for _, c := range was.Listeners {
		if r.IntN(8) == 0 {
			continue
		}
		if r.IntN(2) == 0 {
			c.Depth, c.Accepted, c.LastAccept = uint32(r.Uint32()), number(r), int64(number(r)>>1)
			c.Closed, c.Folded = r.IntN(2) == 0, r.IntN(2) == 0
		}
		switch r.IntN(5) {
		case 0:
			c.Waits = nil
		case 1:
			c.Waits = anyHistogram(r)
		case 2:
			c.Waits = shared
		case 3:
			if c.Waits != nil {
				c.Waits = c.Waits.Clone()
				c.Waits.AddBucket(r.IntN(listener.Buckets), 1+number(r)>>1)
			}
		}
		s.Listeners = append(s.Listeners, c)
	}
	for range r.IntN(3) {
		s.Listeners = append(s.Listeners, listener.Counted{
			ID: number(r), Key: anyKey(r), Family: 10, V6Only: r.IntN(2) == 0, Inode: r.Uint32(), Backlog: r.Uint32(),
			Enqueued: number(r), Accepted: number(r), AcceptedCloseWait: number(r), AcceptedReset: number(r),
			Purged: number(r), PurgedDead: number(r), MigratedIn: number(r), MigratedOut: number(r),
			OverflowSYN: number(r), OverflowACK: number(r), MaxDepth: r.Uint32(), Full: time.Duration(number(r)),
			NonEmptySince: int64(number(r)), MaxWait: int64(number(r)), Waits: anyHistogram(r),
		})
	}
	if r.IntN(4) == 0 {
		r.Shuffle(len(s.Listeners), func(i, j int) { s.Listeners[i], s.Listeners[j] = s.Listeners[j], s.Listeners[i] })
	}
	for _, a := range was.Addresses {
		if r.IntN(3) > 0 {
			a.CloseWait += number(r)
			s.Addresses = append(s.Addresses, a)
		}
	}
	for range r.IntN(3) {
		s.Addresses = append(s.Addresses, listener.AtAddress{Key: anyKey(r), CloseWait: number(r), Reset: number(r),
			ResetAfterFIN: number(r), Accepted: number(r), AcceptedDead: number(r), Enqueued: number(r)})
	}
	for _, e := range was.AcceptErrors {
		if r.IntN(3) > 0 {
			e.Count, e.Last = number(r), int64(number(r))
			s.AcceptErrors = append(s.AcceptErrors, e)
		}
	}
	for range r.IntN(3) {
		e := listener.AcceptError{ListenerID: number(r), Key: anyKey(r), Inode: r.Uint32(), PID: r.Uint32(),
			Errno: uint16(r.Uint32()), Count: number(r), Last: int64(number(r))}
		for i := range e.Comm {
			e.Comm[i] = byte(r.Uint32())
		}
		s.AcceptErrors = append(s.AcceptErrors, e)
	}
	for _, l := range was.Losses {
		l.Count += r.Uint64N(3)
		s.Losses = append(s.Losses, l)
	}
	if r.IntN(3) == 0 && len(s.Losses) < 5 {
		s.Losses = append(s.Losses, listener.Loss{What: fmt.Sprint("what ", number(r)), Text: "\x00\xff", Count: number(r)})
	}
	return s
}

func anyOwners(r *rand.Rand) *Owners {
	o := &Owners{Time: int64(number(r) >> 1), HeldKnown: r.IntN(2) == 0}
	for range r.IntN(4) {
		o.Listening = append(o.Listening, Owner{Inode: r.Uint32(), PID: int(r.Uint32()), Comm: "a \x1b\"<>&",
			FDs: []int{1, 2, 3}, StartTime: number(r), Container: "c0ffee", Unit: "x.service", Cgroup: "/a"})
	}
	for range r.IntN(3) {
		o.Held = append(o.Held, Held{NetNS: r.Uint32(), Local: "[::1]:80", Inode: r.Uint32(), Owners: []Owner{{PID: 1}}})
	}
	if r.IntN(2) == 0 {
		o.Scan = &Scan{Processes: 7, Denied: 1, FirstError: "no", EvenRoot: true}
		o.Missing = []string{"x"}
	}
	return o
}

// anything is a recording of n entries.
func anything(seed uint64, n int) []entry {
	r := rand.New(rand.NewPCG(seed, 3))
	e, s := &event.Event{Family: 2}, &listener.Sample{}
	var all []entry
	for range n {
		switch r.IntN(40) {
		case 0, 1, 2:
			s = anySample(r, s)
			all = append(all, entry{sample: s, waits: r.IntN(2) == 0})
		case 3, 4:
			all = append(all, entry{mark: &Mark{Kind: MarkKind(1 + r.IntN(5)), Time: int64(number(r) >> 1)}})
		case 5:
			all = append(all, entry{clock: &Clock{Monotonic: int64(number(r) >> 1), Wall: int64(number(r))}})
		case 6:
			all = append(all, entry{owners: anyOwners(r)})
		case 7:
			all = append(all, entry{losses: []listener.Loss{{What: "a", Text: "b", Count: number(r)}}})
		default:
			e = anyEvent(r, e)
			all = append(all, entry{event: e})
		}
	}
	return all
}

func TestWhatIsRecordedIsReadAgain(t *testing.T) {
	for seed := range uint64(60) {
		opt := Options{BlockEvents: 1 << (seed % 14), KeyEvery: time.Duration(1) << (seed % 60)}
		want := anything(seed, 600)
		var file bytes.Buffer
		w, err := NewWriter(&file, header(), opt)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if err := want[i].write(w); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if int(w.Size()) != file.Len() {
			t.Errorf("says that it wrote %d bytes, wrote %d", w.Size(), file.Len())
		}
		got, damage, err := readAll(t, file.Bytes())
		if err != nil || len(damage) > 0 {
			t.Fatalf("seed %d: %v, damage %v", seed, err, damage)
		}
		check(t, want, got)
	}
}

// Blocks are cut before they are full of events when nothing in them repeats.
func TestEventsThatShareNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var want []entry
	for range 3 * MaxEvents {
		e := event.Event{
			Kind: event.Queued, Family: 10, Time: r.Int64(), Queued: r.Int64() / 1000 * 1000,
			ListenerID: r.Uint64(), Cookie: r.Uint64(), Local: anyKey(r).Addr, Peer: anyKey(r).Addr,
			NetNS: r.Uint32(), Ifindex: r.Uint32(), Depth: r.Uint32(), DepthAtEntry: r.Uint32(), Backlog: r.Uint32(),
			Unread: r.Uint32(), PID: r.Uint32(), TID: r.Uint32(), Inode: r.Uint32(), FD: int32(r.Uint32()),
			Repeats: r.Uint32(), Flags: event.Flags(r.Uint32()), Errno: uint16(r.Uint32()), State: event.State(r.Uint32()),
		}
		for i := range e.Comm {
			e.Comm[i] = byte(r.Uint32())
		}
		want = append(want, entry{event: &e})
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, header(), Options{})
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
	got, damage, err := readAll(t, file.Bytes())
	if err != nil || len(damage) > 0 {
		t.Fatal(err, damage)
	}
	check(t, want, got)
}

func TestRecordsLongerThanABlock(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	big := &listener.Sample{Time: 5}
	for i := range MaxRows {
		c := listener.Counted{ID: uint64(i + 1), Key: anyKey(r), Accepted: r.Uint64(), LastAccept: r.Int64(), Inode: r.Uint32()}
		if i%50 == 0 {
			c.Waits = anyHistogram(r)
		}
		big.Listeners = append(big.Listeners, c)
	}
	little := *big
	little.Time++
	little.Listeners = slices.Clone(big.Listeners)
	little.Listeners[77].Accepted++
	held := &Owners{Time: 7}
	for i := range 20_000 {
		held.Held = append(held.Held, Held{Local: "192.0.2.1:8000", Inode: uint32(i), Owners: []Owner{{PID: i, FDs: []int{i}}}})
	}
	want := []entry{{event: anyEvent(r, &event.Event{})}, {sample: big, waits: true}, {sample: &little}, {owners: held},
		{event: anyEvent(r, &event.Event{})}, {sample: big}}
	var file bytes.Buffer
	w, err := NewWriter(&file, header(), Options{})
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
	got, damage, err := readAll(t, file.Bytes())
	if err != nil || len(damage) > 0 {
		t.Fatal(err, damage)
	}
	var joined []entry
	var open *Owners
	for _, e := range got {
		if e.owners == nil {
			joined = append(joined, e)
			continue
		}
		if open == nil {
			open = &Owners{Time: e.owners.Time}
		}
		open.Held = append(open.Held, e.owners.Held...)
		if !e.owners.More {
			joined = append(joined, entry{owners: open})
		}
	}
	check(t, want, joined)
}

func TestRefusedRecordsLeaveTheRecordingAsItWas(t *testing.T) {
	wide := func(n int) *listener.Sample {
		s := &listener.Sample{}
		for range n {
			h := new(listener.Histogram)
			h.AddBucket(0, 1)
			h.AddBucket(listener.Buckets-1, 1)
			s.Listeners = append(s.Listeners, listener.Counted{Waits: h})
		}
		return s
	}
	for _, tc := range []struct {
		name  string
		write func(w *Writer) error
		want  error
	}{
		{"stall", func(w *Writer) error { return w.WriteEvent(&event.Event{Kind: event.Stall}) }, ErrKind},
		{"end of a stall", func(w *Writer) error { return w.WriteEvent(&event.Event{Kind: event.StallEnd}) }, ErrKind},
		{"too many listeners", func(w *Writer) error {
			return w.WriteSample(&listener.Sample{Listeners: make([]listener.Counted, MaxRows+1)}, false)
		}, ErrTooLarge},
		{"too many buckets", func(w *Writer) error { return w.WriteSample(wide(MaxBuckets/listener.Buckets+1), true) }, ErrTooLarge},
		{"too many losses", func(w *Writer) error {
			return w.WriteSample(&listener.Sample{Losses: make([]listener.Loss, maxLosses+1)}, false)
		}, ErrTooLarge},
		{"too many losses by themselves", func(w *Writer) error { return w.WriteLosses(0, make([]listener.Loss, maxLosses+1)) }, ErrTooLarge},
		{"too many descriptors", func(w *Writer) error {
			return w.WriteOwners(&Owners{Listening: []Owner{{FDs: make([]int, maxOwners)}}})
		}, ErrTooLarge},
		{"too long words", func(w *Writer) error {
			return w.WriteLosses(0, []listener.Loss{{Text: strings.Repeat("x", MaxRecord)}})
		}, ErrTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var file bytes.Buffer
			w, err := NewWriter(&file, header(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := []entry{{sample: &listener.Sample{Time: 3, Addresses: []listener.AtAddress{{Reset: 7}}}}, {mark: &Mark{Kind: MarkEnd, Time: math.MaxInt64}}}
			if err := want[0].write(w); err != nil {
				t.Fatal(err)
			}
			if err := tc.write(w); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err := errors.Join(want[1].write(w), w.Close()); err != nil {
				t.Fatal(err)
			}
			got, _, err := readAll(t, file.Bytes())
			if err != nil {
				t.Error(err)
			}
			check(t, want, got)
		})
	}
	if w, err := NewWriter(io.Discard, &Header{Why: strings.Repeat("x", MaxContent)}, Options{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("header of 1 MiB: %v, %v", w, err)
	}
}
