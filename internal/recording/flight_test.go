package recording

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"acceptwatch/internal/event"
)

func TestDumpHoldsTheRecentPastAndGoesOn(t *testing.T) {
	f := NewFlight(header(), FlightOptions{Span: 2 * time.Second})
	all := traffic(12, 200_000, 20_000) // 10 s
	var want []entry
	write := func(part []event.Event) {
		t.Helper()
		for i := range part {
			e := entry{event: &part[i]}
			if i%999 == 0 {
				s := entry{sample: sampleOf(part[i:i+1], part[i].Time, true), waits: true}
				want = append(want, s)
				if err := s.write(f); err != nil {
					t.Fatal(err)
				}
			}
			want = append(want, e)
			if err := e.write(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.WriteOwners(&Owners{Time: 4, HeldKnown: true}); err != nil {
		t.Fatal(err)
	}
	clock := Clock{100 * second, 7}
	if err := f.WriteClock(clock); err != nil {
		t.Fatal(err)
	}
	write(all[:100_000])
	if f.Dropped() == 0 {
		t.Error("nothing was forgotten")
	}
	if err := f.Stop(); !errors.Is(err, ErrNoDump) {
		t.Errorf("got %v", err)
	}
	for round, more := range [][]event.Event{all[100_000:150_000], all[150_000:150_010]} {
		from := timeOf(want[len(want)-1])
		var dump bytes.Buffer
		if err := f.Dump(&dump); err != nil {
			t.Fatal(err)
		}
		if err := f.Dump(&dump); err == nil {
			t.Error("two dumps at once")
		}
		write(more)
		if !f.Dumping() {
			t.Error("the dump has ended")
		}
		if err := f.Stop(); err != nil {
			t.Fatal(err)
		}
		end := dump.Len()
		write(all[150_010+round*1000 : 151_010+round*1000])
		if err := f.Flush(); err != nil || dump.Len() != end {
			t.Errorf("%v, and wrote %d bytes after the end", err, dump.Len()-end)
		}
		written := want[:len(want)-1000-2]
		got, damage, err := readAll(t, dump.Bytes())
		if err != nil || len(damage) > 0 {
			t.Fatal(err, damage)
		}
		if len(got) == 0 || got[0].owners == nil || !got[0].owners.HeldKnown {
			t.Fatalf("begins without the owners")
		}
		got = got[1:]
		check(t, written[len(written)-len(got):], got)
		past := time.Duration(from - timeOf(got[0]))
		if past < 2*time.Second || past > 3500*time.Millisecond {
			t.Errorf("holds %v of before", past)
		}
		r, err := NewReader(bytes.NewReader(dump.Bytes()))
		if err != nil || r.Header().Clock != clock {
			t.Errorf("header %+v, %v", r.Header(), err)
		}
		if err := r.SeekTime(from); err != nil || !r.Next() {
			t.Error(err, r.Err())
		}
	}
}

func TestFlightRecorderForgetsWhatIsTooMuchOrTooOld(t *testing.T) {
	f := NewFlight(header(), FlightOptions{Span: time.Hour, MaxBytes: 1})
	all := traffic(13, 300_000, 100_000)
	for i := range all {
		if err := f.WriteEvent(&all[i]); err != nil {
			t.Fatal(err)
		}
		if f.Bytes() > MaxFrame {
			t.Fatalf("takes %d bytes", f.Bytes())
		}
	}
	if f.Bytes() < MaxFrame/2 {
		t.Errorf("takes %d bytes only", f.Bytes())
	}
	if err := f.Tick(all[len(all)-1].Time + 2*int64(time.Hour)); err != nil || f.Bytes() != 0 {
		t.Errorf("%v, and keeps %d bytes for ever", err, f.Bytes())
	}
}

func TestDumpThatFailsIsSaidOnceAndThePastIsKept(t *testing.T) {
	all := traffic(14, 40_000, 20_000)
	full := errors.New("full")
	for _, room := range []int{10, 2000, 60_000, 200_000} {
		f := NewFlight(header(), FlightOptions{})
		out := &limited{room: room, err: full}
		said, dumped := 0, 0
		for i := range all {
			err := f.WriteEvent(&all[i])
			if i == len(all)/4 && err == nil {
				dumped = i
				err = f.Dump(out)
			}
			if err != nil {
				var failed *WriteError
				if !errors.As(err, &failed) || !errors.Is(err, full) {
					t.Fatal(err)
				}
				said++
				if got, damage, torn := readAll(t, out.Bytes()); errors.As(torn, new(*TornError)) {
					if len(damage) > 0 {
						t.Error(damage)
					}
					check(t, entriesOf(all[:len(got)]), got)
				} else {
					t.Errorf("what was written: %v", torn)
				}
			}
		}
		if said != 1 || f.Dumping() {
			t.Errorf("room for %d bytes: said %d times, still dumping: %v", room, said, f.Dumping())
		}
		var again bytes.Buffer
		if err := errors.Join(f.Dump(&again), f.Stop()); err != nil {
			t.Fatal(err)
		}
		got, _, err := readAll(t, again.Bytes())
		if err != nil || dumped == 0 {
			t.Fatal(err)
		}
		check(t, entriesOf(all), got)
	}
}

func entriesOf(all []event.Event) []entry {
	list := make([]entry, 0, len(all))
	for i := range all {
		list = append(list, entry{event: &all[i]})
	}
	return slices.Clip(list)
}
