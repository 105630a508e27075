package demo

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/event"
)

const testPort = 8000

// made is one of each fate, early and late: ports 1 to 6, each queued for
// 900 ms or less and accepted at 1 s.
func made() (clients []Client, released time.Time) {
	start := time.Unix(1000, 0)
	for i, fate := range []Fate{Stays, FIN, RST, Stays, FIN, RST} {
		connected := start.Add(time.Duration(i) * 100 * time.Millisecond)
		clients = append(clients, Client{Port: uint16(i + 1), Fate: fate, BeforeAttach: i < 3,
			Dialled: connected.Add(-time.Millisecond), Connected: connected, Accepted: start.Add(1010 * time.Millisecond)})
	}
	return clients, start.Add(time.Second)
}

func at(peer uint16, kind event.Kind, state event.State) event.Event {
	loopback := netip.MustParseAddr("127.0.0.1")
	return event.Event{Kind: kind, State: state,
		Local: netip.AddrPortFrom(loopback, testPort), Peer: netip.AddrPortFrom(loopback, peer)}
}

// takenAt is an accept after the wait that made implies.
func takenAt(peer uint16, state event.State) event.Event {
	e := at(peer, event.Accepted, state)
	e.Queued = int64(peer) * int64(100*time.Millisecond)
	e.Time = int64(1105 * time.Millisecond)
	return e
}

func whole() []event.Event {
	return []event.Event{
		at(1, event.Queued, event.Established), at(2, event.Queued, event.CloseWaited), at(3, event.Queued, event.Close),
		at(5, event.CloseWait, event.CloseWaited), at(6, event.Reset, event.Close),
		takenAt(1, event.Established), takenAt(2, event.CloseWaited), takenAt(3, event.Close),
		takenAt(4, event.Established), takenAt(5, event.CloseWaited), takenAt(6, event.Close),
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name, mode string
		events     func() []event.Event
		differs    []string // what each difference contains
	}{
		{"all told", "fentry", whole, nil},
		{"state change missed, seen at accept", "fentry", func() []event.Event {
			return append(whole()[:3], whole()[5:]...)
		}, nil},
		{"no accepts where they are sampled", "restricted", func() []event.Event {
			return append(whole()[:5], at(4, event.Queued, event.Established))
		}, nil},
		{"no accepts", "kprobe", func() []event.Event {
			return append(whole()[:5], at(4, event.Queued, event.Established))
		}, []string{"port 1 (stays): its accept was not", "port 2", "port 3", "port 4", "port 5", "port 6"}},
		{"one missing", "fentry", func() []event.Event { return append(whole()[:8], whole()[9:]...) },
			[]string{"port 4 (stays): nothing was reported"}},
		{"one twice", "fentry", func() []event.Event { return append(whole(), takenAt(4, event.Established)) },
			[]string{"port 4 (stays): its accept was reported 2 times"}},
		{"a FIN that was none", "fentry", func() []event.Event { return append(whole(), at(4, event.CloseWait, event.CloseWaited)) },
			[]string{"port 4 (stays): CLOSE_WAIT before accept reported: true"}},
		{"wait too short", "fentry", func() []event.Event {
			events := whole()
			events[5].Queued = events[5].Time - int64(time.Millisecond)
			return events
		}, []string{"port 1 (stays): a wait of 1ms was reported; it was between 900ms and 1.111s"}},
		{"wait not known", "fentry", func() []event.Event {
			events := whole()
			events[5].Queued = 0
			return events
		}, []string{"port 1 (stays): its wait was not reported"}},
		{"a stranger", "fentry", func() []event.Event { return append(whole(), takenAt(99, event.Established)) },
			[]string{"port 99 was reported, and the demo made none"}},
		{"another listener", "fentry", func() []event.Event {
			other := takenAt(99, event.Established)
			other.Local = netip.MustParseAddrPort("127.0.0.1:22")
			return append(whole(), other)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			clients, released := made()
			_, differs := compare(c.mode, testPort, clients, released, c.events())
			if len(differs) != len(c.differs) {
				t.Fatalf("%d differences, want %d: %q", len(differs), len(c.differs), differs)
			}
			for i, want := range c.differs {
				if !strings.Contains(differs[i], want) {
					t.Errorf("difference %d: %q, want one with %q", i, differs[i], want)
				}
			}
		})
	}
}

func TestReportedCountsConnections(t *testing.T) {
	clients, released := made()
	got, _ := compare("fentry", testPort, clients, released, whole())
	want := Reported{Accepted: 6, FIN: 2, RST: 2, BeforeIt: 3, LongestWait: 1005 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParagraphsFollowTheNumbers(t *testing.T) {
	base := Outcome{Mode: "fentry", Port: 8000, Queued: 17, Early: 6, FINs: 6, RSTs: 4, Refused: 2,
		Blocked: 3456 * time.Millisecond, Found: 10,
		Look:     &Look{Depth: 17, Backlog: 16, CloseWait: 6, Established: 7},
		Reported: Reported{Accepted: 17, FIN: 6, RST: 4, BeforeIt: 6, LongestWait: 3210 * time.Millisecond}}
	restricted := base
	restricted.Mode, restricted.Look, restricted.Refused = "restricted", nil, 0
	restricted.Reported = Reported{Accepted: 1, FIN: 6, RST: 4, BeforeIt: 1}
	wrong := base
	wrong.Reported.FIN = 5
	wrong.Differs = []string{"the client at port 40002 (fin): CLOSE_WAIT before accept reported: false"}
	for name, o := range map[string]Outcome{"fentry": base, "restricted": restricted, "wrong": wrong} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".txt")
			got := strings.Join(o.Paragraphs(), "\n\n") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
