package snapshot

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

const (
	second = int64(time.Second)
	now    = 1000 * second
)

// listening is a listener's event.
func listening(id uint64, addr string, depth, backlog uint32) *event.Event {
	return &event.Event{Kind: event.Listener, Time: now, ListenerID: id, NetNS: 1, Local: netip.MustParseAddrPort(addr),
		Family: 2, State: event.Listening, Inode: uint32(id), Depth: depth, Backlog: backlog}
}

// queued is a connection that was queued so long ago; a negative time is not
// known.
func queued(local string, port uint16, state event.State, age time.Duration) *event.Event {
	e := &event.Event{Kind: event.Queued, Time: now, NetNS: 1, Local: netip.MustParseAddrPort(local), Family: 2, State: state,
		Peer: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), port), Cookie: uint64(port), Unread: 10}
	if age >= 0 {
		e.Queued = now - int64(age)
	}
	return e
}

const (
	est = event.Established
	cw  = event.CloseWaited
	cl  = event.Close
)

func TestDepthsAndStates(t *testing.T) {
	const at = "127.0.0.1:80"
	type counts struct {
		Depth, Established, CloseWait, Close, SynRecv, NotLooked, Excess, AgeUnknown uint32
		Derived                                                                      bool
	}
	for _, test := range []struct {
		name          string
		walked        bool
		before, after uint32 // depths
		entries       []event.State
		mayBe         int
		want          counts
	}{
		{"nothing", false, 0, 0, nil, 0, counts{}},
		{"all listed", false, 3, 3, []event.State{est, cw, cw}, 0, counts{Depth: 3, Established: 1, CloseWait: 2}},
		{"what is not listed was reset", false, 5, 5, []event.State{est, cw}, 0,
			counts{Depth: 5, Established: 1, CloseWait: 1, Close: 3, AgeUnknown: 3, Derived: true}},
		{"a Fast Open", false, 1, 1, []event.State{event.SynRecv}, 0, counts{Depth: 1, SynRecv: 1}},
		{"accepted while one looked", false, 5, 2, []event.State{est, est, est}, 0, counts{Depth: 3, Established: 3}},
		{"queued while one looked", false, 2, 5, []event.State{est, est, est}, 0, counts{Depth: 3, Established: 3}},
		{"emptied while one looked", false, 5, 0, nil, 0, counts{}},
		{"moved, and something was reset", false, 5, 4, []event.State{est, est}, 0,
			counts{Depth: 4, Established: 2, NotLooked: 2, AgeUnknown: 2}},
		{"more than there are", false, 1, 1, []event.State{est, est, est}, 0, counts{Depth: 1, Established: 3, Excess: 2}},
		{"MPTCP may be what is not listed", false, 3, 3, []event.State{est}, 4,
			counts{Depth: 3, Established: 1, NotLooked: 2, AgeUnknown: 2}},
		{"a walk sees CLOSE", true, 3, 0, []event.State{est, cl, cw}, 0, counts{Depth: 3, Established: 1, CloseWait: 1, Close: 1}},
		{"more come while one walks", true, 1, 0, []event.State{est, cl, cw}, 0, counts{Depth: 3, Established: 1, CloseWait: 1, Close: 1}},
		{"a walk that was cut", true, 5, 0, []event.State{est, cl, cw}, 0,
			counts{Depth: 5, Established: 1, CloseWait: 1, Close: 1, NotLooked: 2, AgeUnknown: 2}},
	} {
		l := New(Options{Walked: test.walked})
		l.Listener(listening(1, at, test.before, 128))
		for i, state := range test.entries {
			l.Queued(queued(at, uint16(1000+i), state, time.Second))
		}
		for i := range test.mayBe {
			l.MayBeQueued(queued(at, uint16(2000+i), est, time.Second))
		}
		if !test.walked {
			l.Again(listening(1, at, test.after, 128))
			for i, state := range test.entries {
				l.Relisted(queued(at, uint16(1000+i), state, time.Second))
			}
			l.Confirm(listening(1, at, test.after, 128))
		}
		q := l.Queues()[0]
		u := q.Unaccepted
		got := counts{q.Depth, u.Established, u.CloseWait, u.Close, u.SynRecv, u.NotLooked, q.Excess, q.AgeUnknown, q.Derived}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// Of a listener at all addresses, one may be asked for.
func TestOnlyWantedAddressesAreCounted(t *testing.T) {
	wanted := func(_ uint32, local netip.AddrPort) bool { return local.Addr() == netip.MustParseAddr("127.0.0.1") }
	for _, walked := range []bool{true, false} {
		l := New(Options{Walked: walked, Connections: true, Wanted: wanted})
		bound, one := listening(1, "0.0.0.0:80", 4, 8), listening(2, "127.0.0.2:81", 1, 8)
		l.Listener(bound)
		l.Listener(one)
		entries := []*event.Event{queued("127.0.0.2:80", 1, cw, time.Minute), queued("127.0.0.1:80", 2, est, time.Second),
			queued("127.0.0.2:80", 3, cw, time.Second), queued("127.0.0.2:81", 4, est, time.Second)}
		for _, e := range entries {
			l.Queued(e)
		}
		l.Again(bound)
		for _, e := range entries {
			l.Relisted(e)
		}
		l.Confirm(bound)
		all := l.Queues()
		q := all[slices.IndexFunc(all, func(q *Queue) bool { return q.Key.Addr == bound.Local })]
		age, _ := q.Oldest()
		u := q.Unaccepted
		if q.Depth != 4 || q.Elsewhere != 2 || u.Established != 1 || u.CloseWait != 0 || u.Close != 0 || u.NotLooked != 1 ||
			age != time.Second || q.Unread != 10 || len(q.Connections) != 1 {
			t.Errorf("walked %v: %+v", walked, q)
		}
		if !walked && q.Hidden != Unaddressed {
			t.Errorf("hidden because %d", q.Hidden)
		}
		if q := all[1-slices.Index(all, q)]; q.Elsewhere != 0 || q.Unaccepted.Established != 1 {
			t.Errorf("at its own address: %+v", q)
		}
	}
}

func TestEntriesOfAnMPTCPListenerAreMarked(t *testing.T) {
	for _, flags := range []event.Flags{0, event.MPTCP} {
		l := New(Options{Walked: true, Connections: true})
		bound, e := listening(1, "127.0.0.1:80", 1, 8), queued("127.0.0.1:80", 1, est, time.Second)
		bound.Flags, e.ListenerID = flags, 1
		l.Listener(bound)
		l.Queued(e)
		if got := l.Queues()[0].Connections; len(got) != 1 || got[0].Flags != flags {
			t.Errorf("%d: %+v", flags, got)
		}
	}
}

func TestEntriesAreOfTheListenerThatTheKernelChose(t *testing.T) {
	l := New(Options{Connections: true})
	l.Listener(listening(1, "127.0.0.1:80", 1, 8))
	l.Listener(listening(2, "0.0.0.0:80", 2, 8))
	l.Listener(listening(3, "[::]:443", 1, 8))
	l.Queued(queued("127.0.0.1:80", 1, est, 5*time.Second))
	l.Queued(queued("127.0.0.2:80", 2, cw, time.Second))
	l.Queued(queued("10.0.0.1:80", 3, est, -1))
	l.Queued(queued("10.0.0.1:443", 4, est, 3*time.Second))
	l.Queued(queued("10.0.0.1:8080", 5, est, 3*time.Second))
	l.Drops(listening(2, "0.0.0.0:80", 0, 0), 7)
	got := ""
	for _, q := range l.Queues() {
		age, known := q.Oldest()
		got += fmt.Sprintf("%s %d %d, oldest %v %v, %d dropped %v:", q.Key.Addr, q.Depth, q.Unread, age, known, q.Drops, q.DropsKnown)
		for i := range q.Connections {
			got += fmt.Sprintf(" %d", q.Connections[i].Peer.Port())
		}
		got += "\n"
	}
	want := `0.0.0.0:80 2 20, oldest 1s true, 7 dropped true: 2 3
127.0.0.1:80 1 10, oldest 5s true, 0 dropped false: 1
[::]:443 1 10, oldest 3s true, 0 dropped false: 4
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if l.Unplaced != 1 {
		t.Errorf("%d unplaced, want 1", l.Unplaced)
	}
}

// The fullest of several queues decides, whatever there is room for in others.
func TestListenersThatShareAnAddress(t *testing.T) {
	l := New(Options{})
	for id := range uint64(3) {
		depth := uint32(0)
		if id == 1 {
			depth = 9
		}
		l.Listener(listening(id+1, "127.0.0.1:80", depth, 8))
	}
	for port := range uint16(9) {
		l.Queued(queued("127.0.0.1:80", port+1, est, time.Minute))
	}
	all := l.Queues()
	q := all[0]
	one, several := q.Fullest()
	if len(all) != 1 || q.Open != 3 || q.Depth != 9 || q.Backlog != 24 || !several || one.Depth != 9 || one.Backlog != 8 || !q.Full() {
		t.Errorf("%d rows; %+v, fullest %+v", len(all), q, one)
	}
	if q.Accepts != (Accepts{}) {
		t.Errorf("one entry proves nothing of other queues: %+v", q.Accepts)
	}
}

func TestWorstFirst(t *testing.T) {
	var worst []*Queue
	add := func(q Queue) { worst = append(worst, &q) }
	add(Queue{Row: listener.Row{Depth: 5, Backlog: 100, Unaccepted: listener.Unaccepted{CloseWait: 2, Close: 1}}})
	add(Queue{Row: listener.Row{Depth: 9, Backlog: 8}})
	add(Queue{Row: listener.Row{Depth: 9, Backlog: 10, Time: 9, OldestQueued: 1}})
	add(Queue{Row: listener.Row{Depth: 9, Backlog: 10, Time: 9, OldestQueued: 5}})
	add(Queue{Row: listener.Row{Backlog: 10, Time: 9}, Drops: 3})
	add(Queue{Row: listener.Row{Backlog: 10, Time: 900}})
	for i := range worst {
		for j := range worst {
			switch got := Worse(worst[i], worst[j]); {
			case i < j && got >= 0, i > j && got <= 0, i == j && got != 0:
				t.Errorf("%d and %d: %d", i, j, got)
			}
		}
	}
}

// BenchmarkLook is what a look does with 100,000 entries at 50 listeners.
func BenchmarkLook(b *testing.B) {
	var listeners, entries []event.Event
	for i := range 50 {
		at := fmt.Sprintf("127.0.0.1:%d", 8000+i)
		listeners = append(listeners, *listening(uint64(i+1), at, 2000, 2000))
		for port := range 2000 {
			entries = append(entries, *queued(at, uint16(10000+port), cw, time.Duration(port)*time.Millisecond))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		l := New(Options{})
		for i := range listeners {
			l.Listener(&listeners[i])
		}
		for i := range entries {
			l.Queued(&entries[i])
		}
		if all := l.Queues(); len(all) != 50 || all[0].Unaccepted.CloseWait != 2000 {
			b.Fatal(all)
		}
	}
	b.ReportMetric(float64(len(entries))*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
