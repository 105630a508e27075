package snapshot

import (
	"testing"
	"time"
)

func TestWhatAQueueProvesOfAccept(t *testing.T) {
	type entry struct {
		ago          time.Duration // negative: not known
		depthAtEntry uint32
	}
	const ms = time.Millisecond
	for _, test := range []struct {
		name    string
		walked  bool
		entries []entry
		want    Accepts
	}{
		{"a head alone may have come with another", true, []entry{{41 * time.Second, 0}}, Accepts{}},
		{"one that counted those before it", true, []entry{{41 * time.Second, 0}, {40 * time.Second, 1}, {9 * time.Second, 2}},
			Accepts{NoneSince: now - 40*second, Since: now - 40*second, Known: true}},
		{"of two at once none counted the other", true, []entry{{41 * time.Second, 0}, {41*time.Second - ms/2, 1}}, Accepts{}},
		{"a later one did", true, []entry{{41 * time.Second, 0}, {41*time.Second - ms/2, 0}, {41*time.Second - 2*ms, 2}},
			Accepts{NoneSince: now - 41*second + 2*int64(ms), Since: now - 41*second + 2*int64(ms), Known: true}},
		{"others were there", true, []entry{{41 * time.Second, 7}, {40 * time.Second, 5}, {39 * time.Second, 3}},
			Accepts{AtMost: 4, Since: now - 40*second, Known: true}},
		{"until they were accepted", true, []entry{{41 * time.Second, 7}, {40 * time.Second, 5}, {39 * time.Second, 2}},
			Accepts{AtMost: 4, Since: now - 40*second, NoneSince: now - 39*second, Known: true}},
		{"it counted fewer than are before it", true, []entry{{41 * time.Second, 0}, {40 * time.Second, 0}}, Accepts{}},
		{"when the one before came is not known", true, []entry{{-1, 0}, {40 * time.Second, 1}}, Accepts{}},
		{"when it came is not known", true, []entry{{41 * time.Second, 0}, {-1, 1}}, Accepts{}},
		{"sock_diag does not know the order", false, []entry{{41 * time.Second, 0}, {40 * time.Second, 1}}, Accepts{}},
	} {
		l := New(Options{Walked: test.walked})
		l.Listener(listening(1, "127.0.0.1:80", 2, 8))
		for i, one := range test.entries {
			e := queued("127.0.0.1:80", uint16(i+1), est, one.ago)
			e.ListenerID, e.DepthAtEntry = 1, one.depthAtEntry
			l.Queued(e)
		}
		if got := l.Queues()[0].Accepts; got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
