package snapshot

import (
	"testing"
	"time"

	"acceptwatch/internal/event"
)

// What is not listed was reset only if nothing else can explain it.
func TestWhatIsNotListedIsNotAlwaysReset(t *testing.T) {
	const at = "127.0.0.1:80"
	for _, test := range []struct {
		name          string
		before, after []uint16 // depths, and ports that are listed
		depths        [3]uint32
		stray         string // a connection without a process, at this address
		other         string // a listener there
		want          Hidden
	}{
		{"twice the same", []uint16{1, 2}, []uint16{2, 1}, [3]uint32{5, 5, 5}, "", "", NoneHidden},
		{"nothing is listed twice", nil, nil, [3]uint32{5, 5, 5}, "", "", NoneHidden},
		{"one was accepted, another came", []uint16{1, 2}, []uint16{2, 3}, [3]uint32{5, 5, 5}, "", "", Moving},
		{"one more was listed", []uint16{1}, []uint16{1, 2}, [3]uint32{5, 5, 5}, "", "", Moving},
		{"the depth changed meanwhile", []uint16{1}, []uint16{1}, [3]uint32{5, 4, 5}, "", "", Moving},
		{"the depth changed afterwards", []uint16{1}, []uint16{1}, [3]uint32{5, 5, 4}, "", "", Moving},
		{"what was steered may be it", []uint16{1}, []uint16{1}, [3]uint32{5, 5, 5}, "127.0.0.1:443", "", Steered},
		{"another listener's", []uint16{1}, []uint16{1}, [3]uint32{5, 5, 5}, "127.0.0.1:443", "0.0.0.0:443", NoneHidden},
		{"not of that address", []uint16{1}, []uint16{1}, [3]uint32{5, 5, 5}, "127.0.0.1:443", "127.0.0.2:443", Steered},
	} {
		l := New(Options{})
		l.Listener(listening(1, at, test.depths[0], 128))
		for _, port := range test.before {
			l.Queued(queued(at, port, est, time.Second))
		}
		l.Again(listening(1, at, test.depths[1], 128))
		if !l.Hides() {
			t.Errorf("%s: nothing is hidden", test.name)
		}
		for _, port := range test.after {
			l.Relisted(queued(at, port, est, time.Second))
		}
		if test.stray != "" {
			l.Relisted(queued(test.stray, 9, est, time.Second))
		}
		l.Confirm(listening(1, at, test.depths[2], 128))
		if test.other != "" {
			l.Confirm(listening(2, test.other, 0, 128))
		}
		all := l.Queues()
		q := all[0]
		u, hidden := q.Unaccepted, q.Depth-uint32(len(test.before))
		wantClose, wantNot := hidden, uint32(0)
		if test.want != NoneHidden {
			wantClose, wantNot = 0, hidden
		}
		if len(all) != 1 || q.Hidden != test.want || u.Close != wantClose || u.NotLooked != wantNot || q.Derived != (wantClose > 0) {
			t.Errorf("%s: hidden because %d, %+v", test.name, q.Hidden, u)
		}
	}
	l := New(Options{})
	l.Listener(listening(1, at, 5, 128))
	l.Again(listening(1, at, 5, 128))
	l.NotListed(1)
	l.Confirm(listening(1, at, 5, 128))
	if q := l.Queues()[0]; q.Hidden != Unlisted || q.Unaccepted.NotLooked != 5 || q.Unaccepted.Close != 0 {
		t.Errorf("nothing could be listed: %+v", q)
	}
}

// What is steered from the port of another listener is listed there, and is not
// in its queue.
func TestSteeredFromAnotherListenersPort(t *testing.T) {
	for _, steered := range []bool{false, true} {
		l := New(Options{})
		to, from := listening(1, "127.0.0.1:80", 3, 8), listening(2, "127.0.0.1:443", 0, 8)
		if !steered {
			from.Depth = 1
		}
		e := queued("127.0.0.1:443", 1, est, time.Second)
		for _, bound := range []*event.Event{to, from} {
			l.Listener(bound)
		}
		l.Queued(e)
		l.Again(to)
		l.Again(from)
		l.Relisted(e)
		l.Confirm(to)
		l.Confirm(from)
		for _, q := range l.Queues() {
			if q.Key.Addr == to.Local && (q.Derived == steered || (q.Hidden == Steered) != steered) {
				t.Errorf("steered %v: %+v", steered, q)
			}
		}
	}
}
