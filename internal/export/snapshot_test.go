package export

import (
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/event"
	"acceptwatch/internal/snapshot"
)

// What an MPTCP client has sent waits elsewhere: that nothing is unread is not
// known.
func TestUnreadOfMPTCPIsLeftOut(t *testing.T) {
	for _, test := range []struct {
		flags  event.Flags
		unread uint32
		want   bool
	}{{0, 0, true}, {0, 7, true}, {event.MPTCP, 0, false}, {event.MPTCP, 7, true}} {
		line := string(AppendConnection(nil, &event.Event{Flags: test.flags, Unread: test.unread}, &snapshot.Queue{}, time.Time{}))
		if strings.Contains(line, `"unread_bytes"`) != test.want {
			t.Errorf("%+v: %s", test, line)
		}
	}
}
