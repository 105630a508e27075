package report

import (
	"net/netip"
	"testing"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/listener"
)

// Of listeners that share an address, the evidence of one says nothing of another.
func TestEvidenceIsOfOneListener(t *testing.T) {
	key := listener.Key{NetNS: netns, Addr: netip.MustParseAddrPort("127.0.0.1:8000")}
	for _, tc := range []struct {
		about, other uint32 // inodes: of the evidence, and of the second listener
		mine, its    bool   // who is told why
	}{
		{about: 71, other: 72, mine: true},
		{about: 72, other: 72, its: true},
		{about: 73, other: 72},
		{about: 0, other: 72}, // it may be either
		{about: 0, other: 0, mine: true},
	} {
		c := newCollector(nil, Options{})
		mine, its := &Stall{Key: key}, &Stall{Key: key}
		listeners := []listener.Counted{{ID: 1, Key: key, Inode: 71}}
		c.queues[1] = &queue{stall: mine}
		if tc.other != 0 {
			listeners = append(listeners, listener.Counted{ID: 2, Key: key, Inode: tc.other})
			c.queues[2] = &queue{stall: its}
		}
		c.table.Update(&listener.Sample{Time: began, Listeners: listeners}, c.emit)
		e := &diagnose.Evidence{Listener: "127.0.0.1:8000", NetNS: netns, Inode: tc.about}
		e.Queue.Failures = []diagnose.AcceptFailure{{Errno: "EMFILE", PID: 1, Count: 1}}
		c.diagnosed(e)
		if (mine.Diagnosis != nil) != tc.mine || (its.Diagnosis != nil) != tc.its {
			t.Errorf("%+v: told are %v and %v", tc, mine.Diagnosis, its.Diagnosis)
		}
	}
}
