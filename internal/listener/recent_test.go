package listener

import "testing"

func TestRecentGivesWhatWasPutInLast(t *testing.T) {
	var r Recent[uint64]
	if r.Get(0) != nil {
		t.Error("something of an ID that nobody has")
	}
	all := make([]uint64, 3*recentSlots) // so that most share a place
	for i := range all {
		all[i] = uint64(i + 1)
		r.Put(all[i], &all[i])
		if r.Get(all[i]) != &all[i] {
			t.Fatalf("%d is forgotten at once", all[i])
		}
	}
	known := 0
	for i := range all {
		switch got := r.Get(all[i]); {
		case got == &all[i]:
			known++
		case got != nil:
			t.Errorf("%d is taken for %d", all[i], *got)
		}
	}
	for i := range all {
		if r.Forget(all[i]); r.Get(all[i]) != nil {
			t.Errorf("%d is not forgotten", all[i])
		}
	}
	if known < recentSlots/2 {
		t.Errorf("%d of %d are known", known, len(all))
	}
}
