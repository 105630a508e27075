package listener

import (
	"slices"
	"testing"

	"acceptwatch/internal/event"
)

const (
	emfile = 24
	enfile = 23
)

func (s *story) errors(at int64, counted []Counted, errors ...AcceptError) {
	s.table.Update(&Sample{Time: at, Listeners: counted, AcceptErrors: errors}, s.note)
}

func python() event.Comm {
	var c event.Comm
	copy(c[:], "python3")
	return c
}

func TestAcceptErrorsAreTiedToTheirListener(t *testing.T) {
	one := Counted{ID: 1, Key: key("0.0.0.0:8000"), Inode: 11}
	two := Counted{ID: 2, Key: key("10.0.0.1:8000"), Inode: 12}
	group := Counted{ID: 3, Key: key("10.0.0.1:8000"), Inode: 13}
	for _, tc := range []struct {
		name string
		err  AcceptError
		row  string // empty: not known
		id   uint64 // of the member; 0: the row's only
	}{
		{"by its ID", AcceptError{ListenerID: 1}, "0.0.0.0:8000", 1},
		{"by its ID before all", AcceptError{ListenerID: 1, Inode: 12, Key: two.Key}, "0.0.0.0:8000", 1},
		{"by its inode", AcceptError{Inode: 12}, "10.0.0.1:8000", 2},
		{"by its inode before its address", AcceptError{Inode: 13, Key: one.Key}, "10.0.0.1:8000", 3},
		{"by its address", AcceptError{Key: one.Key}, "0.0.0.0:8000", 1},
		{"by an address as the kernel looks it up", AcceptError{Key: key("10.0.0.2:8000"), Inode: 99}, "0.0.0.0:8000", 1},
		{"by the address of a group", AcceptError{Key: two.Key, ListenerID: 77}, "10.0.0.1:8000", 0},
		{"by nothing", AcceptError{}, "", 0},
		{"by what nobody knows", AcceptError{ListenerID: 77, Inode: 77, Key: key("10.0.0.1:81")}, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tell(t, Options{Start: 1})
			tc.err.PID, tc.err.Comm, tc.err.Errno, tc.err.Count, tc.err.Last = 123, python(), emfile, 7, 900*ms
			all := []Counted{one, two, group}
			s.errors(second, all, tc.err)
			s.errors(2*second, all, tc.err) // said again: cumulative
			want := []AcceptFailures{{PID: 123, Comm: python(), Errno: emfile, Count: 7, Last: 900 * ms}}
			if tc.row == "" {
				if got := s.table.AcceptErrors(); !slices.Equal(got, want) {
					t.Errorf("%+v", got)
				}
			} else if got := s.table.AcceptErrors(); got != nil {
				t.Errorf("not known: %+v", got)
			}
			for _, r := range s.table.Rows() {
				if r.Key.Addr.String() != tc.row {
					if r.Failed() != 0 {
						t.Errorf("%v: %+v", r.Key.Addr, r.AcceptErrors)
					}
					continue
				}
				if !slices.Equal(r.AcceptErrors, want) {
					t.Errorf("%v: %+v", r.Key.Addr, r.AcceptErrors)
				}
				for _, m := range r.Members {
					if (m.ID == tc.id) != (m.Failed() == 7) {
						t.Errorf("member %d: %+v", m.ID, m.AcceptErrors)
					}
				}
			}
			e := event.Event{Kind: event.AcceptError, ListenerID: tc.err.ListenerID, Inode: tc.err.Inode,
				NetNS: tc.err.Key.NetNS, Local: tc.err.Key.Addr, Ifindex: tc.err.Key.Ifindex}
			p, ok := s.table.Resolve(&e)
			if ok != (tc.row != "") || ok && (p.Key.Addr.String() != tc.row || p.ID != tc.id) {
				t.Errorf("its event is of %+v, %v", p, ok)
			}
		})
	}
}

func TestAcceptErrorsGrowByDescriptorAndErrno(t *testing.T) {
	s := tell(t, Options{Start: 1})
	c := []Counted{{ID: 1, Key: key("0.0.0.0:8000")}}
	by := func(pid uint32, errno uint16, count uint64, last int64) AcceptError {
		return AcceptError{ListenerID: 1, PID: pid, Errno: errno, Count: count, Last: last * ms}
	}
	// Two descriptors of one socket have an entry each.
	s.errors(second, c, by(5, emfile, 10, 800), by(5, emfile, 4, 700), by(5, enfile, 1, 600), by(6, emfile, 20, 500))
	s.errors(2*second, c, by(5, emfile, 12, 1800), by(5, emfile, 4, 700))
	want := []AcceptFailures{
		{PID: 6, Errno: emfile, Count: 20, Last: 500 * ms},
		{PID: 5, Errno: emfile, Count: 16, Last: 1800 * ms},
		{PID: 5, Errno: enfile, Count: 1, Last: 600 * ms},
	}
	if got := s.row().AcceptErrors; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	got := s.row().AcceptErrors
	got[0].Count = 99 // a copy
	c[0].Closed = true
	s.errors(3*second, c)
	s.errors(4*second, nil)
	s.errors(5*second, nil, by(5, enfile, 3, 600)) // of the closed one, noticed late
	want[2].Count = 3
	if r := s.row(); r.Open != 0 || !slices.Equal(r.AcceptErrors, want) || r.Failed() != 39 {
		t.Errorf("%+v", r)
	}
}

func TestAcceptErrorsWaitForTheirListener(t *testing.T) {
	s := tell(t, Options{Start: 1})
	e := AcceptError{Inode: 11, PID: 5, Errno: emfile, Count: 3, Last: 900 * ms}
	s.errors(second, nil, e)
	if got := s.table.AcceptErrors(); len(got) != 1 || got[0].Count != 3 {
		t.Errorf("%+v", got)
	}
	s.errors(2*second, []Counted{{ID: 1, Key: key("0.0.0.0:8000"), Inode: 11}})
	if r := s.row(); r.Failed() != 3 || s.table.AcceptErrors() != nil {
		t.Errorf("%+v, %+v", r, s.table.AcceptErrors())
	}
}

func TestAcceptErrorsNeedBoundedMemory(t *testing.T) {
	s := tell(t, Options{Start: 1, MaxRows: 2})
	var errors []AcceptError
	for i := range maxTallies + 100 {
		errors = append(errors, AcceptError{ListenerID: 1, PID: uint32(1 + i), Comm: python(), Errno: emfile, Count: 2, Last: int64(i)})
	}
	c := []Counted{{ID: 1, Key: key("0.0.0.0:8000")}}
	for at := range int64(2) {
		s.errors((1+at)*second, c, errors...)
	}
	r := s.row()
	if len(r.AcceptErrors) > maxFailures+1 || r.Failed() != 2*maxTallies {
		t.Errorf("%d entries, %d calls", len(r.AcceptErrors), r.Failed())
	}
	if f := r.AcceptErrors[0]; f.PID != 0 || f.Comm != (event.Comm{}) || f.Errno != emfile || f.Count != 2*(maxTallies-maxFailures) {
		t.Errorf("the others are %+v", f)
	}
	if f := r.AcceptErrors[1]; f.PID <= maxTallies-maxFailures {
		t.Errorf("%+v is told apart, and not the last ones", f)
	}
	if l := s.table.Losses(); len(l) != 1 || l[0].What != "accept_errors_not_tracked" || l[0].Count != 200 {
		t.Errorf("%+v", l)
	}
	// Through closing, folding, and having no row of its own.
	c[0].Closed = true
	s.errors(3*second, c)
	for id := uint64(2); id < 8; id++ {
		s.errors(int64(2+id)*second, []Counted{{ID: id, Key: Key{NetNS: uint32(id), Addr: c[0].Key.Addr}, Closed: true}})
	}
	errors[0].Count++ // of a row that is no more
	s.errors(20*second, nil, errors[:1]...)
	for _, r := range s.table.Rows() {
		if r.Other && r.Failed() != 2*maxTallies+1 {
			t.Errorf("%d calls failed at other addresses", r.Failed())
		}
	}
}

func TestAStallTellsWhoFailsToAccept(t *testing.T) {
	base := Counted{ID: 1, Key: key("0.0.0.0:8000"), Family: 2, Backlog: 5, Depth: 3, Enqueued: 4, Accepted: 1,
		NonEmptySince: 100 * ms, LastAccept: 200 * ms}
	by := func(pid uint32, count uint64, last int64) AcceptError {
		return AcceptError{ListenerID: 1, PID: pid, Comm: python(), Errno: emfile, Count: count, Last: last * ms}
	}
	for _, tc := range []struct {
		name   string
		errors []AcceptError
		pid    uint32
		count  uint32
	}{
		{"nobody", nil, 0, 0},
		{"somebody before the last accept", []AcceptError{by(5, 9, 150)}, 0, 0},
		{"somebody since", []AcceptError{by(5, 9, 1100)}, 5, 9},
		{"most of those who failed since", []AcceptError{by(5, 9, 1100), by(6, 10, 1100), by(7, 1000, 150)}, 6, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tell(t, Options{Start: 1})
			s.walk(1, 1, "0.0.0.0:8000", 0, 0)
			var stall event.Event
			s.table.Update(&Sample{Time: 1300 * ms, Listeners: []Counted{base}, AcceptErrors: tc.errors},
				func(e *event.Event) { stall = *e })
			if stall.Kind != event.Stall || stall.PID != tc.pid || stall.Repeats != tc.count ||
				(stall.Errno == emfile) != (tc.pid != 0) || (stall.Comm == python()) != (tc.pid != 0) {
				t.Errorf("%+v", stall)
			}
		})
	}
}

func TestRowsThatFailOrRefuseAreWorse(t *testing.T) {
	s := tell(t, Options{Start: 1})
	at := func(id uint64, addr string, change func(c *Counted)) Counted {
		c := Counted{ID: id, Key: key(addr), Backlog: 10, Enqueued: id, Accepted: id, LastAccept: 99 * second}
		if change != nil {
			change(&c)
		}
		return c
	}
	fails := func(id uint64, last int64) AcceptError {
		return AcceptError{ListenerID: id, PID: 5, Errno: emfile, Count: 1, Last: last}
	}
	all := []Counted{
		at(1, "10.0.0.1:1", nil),
		at(2, "10.0.0.2:1", func(c *Counted) { c.OverflowSYN = 50 }),
		at(3, "10.0.0.3:1", nil),
		at(4, "10.0.0.4:1", nil),
		at(5, "10.0.0.5:1", func(c *Counted) { c.Depth, c.Enqueued = 10, 15 }),
		at(6, "10.0.0.6:1", func(c *Counted) { c.Depth, c.Enqueued, c.NonEmptySince = 1, 7, 99*second }),
	}
	s.errors(50*second, all, fails(3, 50*second))
	all[3].OverflowACK = 1
	all[4].NonEmptySince = 99 * second
	s.errors(100*second, all, fails(3, 50*second), fails(1, 95*second))
	var got []string
	for _, r := range s.table.Rows() {
		got = append(got, r.Key.Addr.String())
	}
	want := []string{
		"10.0.0.5:1", "10.0.0.6:1", // stalled
		"10.0.0.1:1", // fails
		"10.0.0.4:1", // refuses
		"10.0.0.3:1", // failed once
		"10.0.0.2:1", // refused once
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestLookingAtRowsChangesNothing(t *testing.T) {
	s := tell(t, Options{Start: 1})
	by := func(id uint64) AcceptError {
		return AcceptError{ListenerID: id, PID: 5, Errno: emfile, Count: 3, Last: ms}
	}
	one := Counted{ID: 1, Key: key("0.0.0.0:8000"), Closed: true}
	for range 3 {
		s.errors(second, []Counted{one}, by(1))
	}
	s.errors(second, []Counted{{ID: 2, Key: one.Key}}, by(1), by(2))
	for range 3 {
		if r := s.row(); r.Failed() != 6 || len(r.AcceptErrors) != 1 || r.Closed != 1 {
			t.Errorf("%+v", r)
		}
	}
}
