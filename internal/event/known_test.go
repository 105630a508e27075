package event

import "testing"

func TestDepthKnown(t *testing.T) {
	for _, tc := range []struct {
		name string
		e    Event
		want bool
	}{
		{"accepted, the queue is empty now", Event{Kind: Accepted, Backlog: 5}, true},
		{"accepted, exit unseen", Event{Kind: Accepted, Depth: 3, Backlog: 5, Flags: ExitUnseen}, false},
		{"dead, the listener is not known", Event{Kind: CloseWait}, false},
		{"dead, seen by a walk", Event{Kind: Reset, Depth: 3, Backlog: 5}, true},
		{"refused", Event{Kind: Overflow, Depth: 1}, true},
		{"failed, the listener is not known", Event{Kind: AcceptError}, false},
		{"failed with an empty queue", Event{Kind: AcceptError, Backlog: 5}, true},
		{"closed", Event{Kind: ListenerClosed}, true},
	} {
		if got := tc.e.DepthKnown(); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestErrnoName(t *testing.T) {
	for errno, want := range map[uint16]string{24: "EMFILE", 104: "ECONNRESET", 4000: "errno 4000"} {
		if got := ErrnoName(errno); got != want {
			t.Errorf("%d is %q, want %q", errno, got, want)
		}
	}
}
