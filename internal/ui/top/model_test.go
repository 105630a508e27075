package top

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/golden"
	"acceptwatch/internal/listener"
	"acceptwatch/internal/ui"
)

func (h *host) keys(keys ...string) *host {
	for _, key := range keys {
		h.m.Key(key)
		h.m.Frame() // which scrolls
	}
	return h
}

func TestFrames(t *testing.T) {
	sampled := about()
	sampled.Mode, sampled.Refusals = "restricted", false
	sampled.Limits = []string{"accept() itself cannot be watched: waits are sampled every 100ms", "refused connections are not known"}
	lost := listener.Loss{What: "ring_full", Text: "events found the buffer full", Count: 3}
	for _, test := range []struct {
		name string
		make func(width, height int) *host
	}{
		{"calm", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(30) }},
		{"nothing", func(w, h int) *host { return newHost(w, h, Options{}, about()) }},
		{"stall", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(85, lost) }},
		{"overflow", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(150) }},
		{"overflow_listener", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(150).keys("enter") }},
		{"overflow_listener_end", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(150).keys("enter", "G") }},
		{"busy_listener", func(w, h int) *host {
			return newHost(w, h, Options{}, about()).until(30).keys("/", "n", "g", "i", "enter", "enter")
		}},
		{"failing_listener", func(w, h int) *host {
			return newHost(w, h, Options{}, about()).until(150).keys("j", "enter")
		}},
		{"help", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(3).keys("?") }},
		{"filter", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(85).keys("/", "D", "o", "c") }},
		{"no_match", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(85).keys("/", "x", "y", "enter") }},
		{"by_rate", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(85).keys("s", "s", "s", "s") }},
		{"paused", func(w, h int) *host { return newHost(w, h, Options{}, about()).until(85).keys(" ").until(150) }},
		{"restricted", func(w, h int) *host { return newHost(w, h, Options{}, sampled).until(85, lost) }},
		{"restricted_listener", func(w, h int) *host {
			return newHost(w, h, Options{}, sampled).until(30).keys("/", "n", "g", "i", "enter", "enter")
		}},
		{"restricted_help", func(w, h int) *host { return newHost(w, h, Options{}, sampled).until(3).keys("?") }},
		{"ascii", func(w, h int) *host { return newHost(w, h, Options{ASCII: true}, about()).until(150).keys("enter") }},
	} {
		for _, size := range [][2]int{{80, 24}, {200, 50}} {
			t.Run(fmt.Sprintf("%s_%d", test.name, size[0]), func(t *testing.T) {
				f := test.make(size[0], size[1]).m.Frame()
				fits(t, f, size[0], size[1])
				golden.Compare(t, fmt.Sprintf("%s_%d.txt", test.name, size[0]), []byte(f.String()))
			})
		}
	}
}

// fits fails if a frame is larger than its screen.
func fits(t *testing.T, f Frame, width, height int) {
	t.Helper()
	if len(f) > height {
		t.Errorf("%d lines on a screen of %d", len(f), height)
	}
	for i, l := range strings.Split(f.String(), "\n") {
		if n := len([]rune(l)); n > width {
			t.Errorf("line %d has %d columns of %d: %q", i, n, width, l)
		}
	}
}

// Any size of a terminal is drawn, whatever is pressed.
func TestAnySizeFits(t *testing.T) {
	for _, width := range []int{1, 2, 10, 20, 39, 60, 79, 81, 100, 132, 149, 150, 400} {
		for _, height := range []int{1, 2, 3, 5, 8, 24, 100} {
			h := newHost(width, height, Options{}, about()).until(85)
			for _, key := range []string{"G", "j", "pgup", "enter", "G", "?", "pgdn", "esc", "esc", "/", "x", "esc", "g", "k"} {
				h.keys(key)
				fits(t, h.m.Frame(), width, height)
			}
		}
	}
}

// The cursor is on the worst listener until it is moved, and then with its own.
func TestCursorStaysWithItsListener(t *testing.T) {
	h := newHost(80, 24, Options{}, about()).until(50)
	selected := func() string { return h.m.list[h.m.cursor].address() }
	if got := selected(); got != "127.0.0.1:8000" {
		t.Errorf("at first: %s", got)
	}
	h.keys("j", "j")
	if got := selected(); got != "10.20.30.40:3000" {
		t.Errorf("two down: %s", got)
	}
	h.until(150) // it is the second worst now
	if got := selected(); got != "10.20.30.40:3000" || h.m.cursor != 1 {
		t.Errorf("later: %s at %d", got, h.m.cursor)
	}
	h.keys("g").until(151)
	if got := selected(); got != "127.0.0.1:8000" {
		t.Errorf("at the top again: %s", got)
	}
	f := h.m.Frame()
	marked := 0
	for i := range f {
		if f[i].Selected {
			marked++
		}
	}
	if marked != 1 {
		t.Errorf("%d lines are marked", marked)
	}
}

func TestSortOrders(t *testing.T) {
	h := newHost(80, 24, Options{}, about()).until(150)
	want := []string{"127.0.0.1:8000", "0.0.0.0:443", "127.0.0.1:8000", "127.0.0.1:8000", "0.0.0.0:443", "0.0.0.0:443",
		"127.0.0.1:8000", "127.0.0.1:8000", "10.20.30.40:3000"}
	for o, first := range want {
		if got := h.m.list[0].address(); order(o) != h.m.sort || got != first {
			t.Errorf("by %s: %s is first", h.m.sort, got)
		}
		h.keys("s")
	}
	if h.m.sort != byWorst {
		t.Errorf("after all of them: by %s", h.m.sort)
	}
	h.keys("r")
	if got := h.m.list[len(h.m.list)-1].address(); got != "127.0.0.1:8000" {
		t.Errorf("reversed: %s is last", got)
	}
}

// What is paused stands still, and nothing is missing when it goes on.
func TestPauseStandsStill(t *testing.T) {
	h := newHost(80, 24, Options{}, about()).until(85).keys("enter", " ")
	before := h.m.Frame().String()
	if got := h.until(150).m.Frame().String(); got != before {
		t.Errorf("it moved:\n%s", got)
	}
	h.keys(" ")
	if got, want := h.m.Frame().String(), newHost(80, 24, Options{}, about()).until(150).keys("enter").m.Frame().String(); got != want {
		t.Errorf("it goes on as:\n%s\nwithout a pause:\n%s", got, want)
	}
}

// Only the listener that is looked at is to be explained, and only once.
func TestStalledListenerIsToBeExplained(t *testing.T) {
	h := newHost(80, 24, Options{}, about()).until(63)
	if _, is := h.m.Unexplained(); is {
		t.Error("one is, and none is opened")
	}
	h.keys("enter")
	if r, is := h.m.Unexplained(); !is || r.ID != api+1 {
		t.Errorf("the one that is opened is not: listener %d", r.ID)
	}
	if _, is := h.until(70).m.Unexplained(); is {
		t.Error("the one that was diagnosed is")
	}
}

func TestKeysThatTheModelLeavesToOthers(t *testing.T) {
	recorded := about()
	recorded.Origin = "recorded 2024-05-17; read from x"
	for _, test := range []struct {
		about About
		key   string
		want  Command
	}{
		{about(), "q", Command{Quit: true}},
		{about(), "ctrl-c", Command{Quit: true}},
		{about(), " ", Command{}},
		{about(), "left", Command{}},
		{recorded, " ", Command{Pause: true}},
		{recorded, "+", Command{Faster: true}},
		{recorded, "-", Command{Slower: true}},
		{recorded, "0", Command{Begin: true}},
		{recorded, "left", Command{Seek: -10 * time.Second}},
		{recorded, "]", Command{Seek: time.Minute}},
		{recorded, "j", Command{}},
	} {
		m := newHost(80, 24, Options{}, test.about).until(3).m
		if got := m.Key(test.key); got != test.want {
			t.Errorf("%q: %+v", test.key, got)
		}
	}
	// While a filter is typed, all keys are text.
	m := newHost(80, 24, Options{}, recorded).until(3).keys("/").m
	if got := m.Key("q"); got != (Command{}) || m.filter != "q" {
		t.Errorf("q in a filter: %+v, filter %q", got, m.filter)
	}
}

func TestEscapeTakesATypedFilterBack(t *testing.T) {
	h := newHost(80, 24, Options{}, about()).until(3).keys("/", "n", "g", "enter", "/", "i", "n", "x")
	if n := len(h.m.list); n != 1 {
		t.Errorf("%d listeners are shown", n)
	}
	for _, test := range []struct {
		key, filter string
		typing      bool
	}{{"backspace", "ngin", true}, {"ctrl-u", "", true}, {"esc", "ng", false}, {"esc", "", false}} {
		h.keys(test.key)
		if h.m.filter != test.filter || h.m.typing != test.typing {
			t.Errorf("after %s: %q, typing %t", test.key, h.m.filter, h.m.typing)
		}
	}
}

// A closed listener stays for a while, behind those that are open.
func TestClosedListenerLeaves(t *testing.T) {
	h := newHost(80, 24, Options{}, about()).until(20)
	h.rows[proxy].Open, h.rows[proxy].Closed = 0, 1
	close := func(until int64) (last string, n int) {
		for ; h.now <= until; h.now++ {
			var all []ui.Listener
			for i := range h.rows {
				h.rows[i].Time = h.at(h.now)
				all = append(all, ui.Listener{Row: h.rows[i]})
			}
			h.m.Take(&State{Time: h.at(h.now), Listeners: all})
		}
		return h.m.list[len(h.m.list)-1].address(), len(h.m.list)
	}
	if last, n := close(25); last != "0.0.0.0:443" || n != listeners {
		t.Errorf("just closed: %s is the last of %d", last, n)
	}
	if last, n := close(40); last == "0.0.0.0:443" || n != listeners-1 {
		t.Errorf("later: %s is the last of %d", last, n)
	}
}

// many is a state of a host with ten thousand listeners, of which a hundred are
// used.
func many(at int64) *State {
	s := &State{Time: began + at*second}
	for i := range 10_000 {
		r := listener.Row{
			Key:  listener.Key{NetNS: netns, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 8000)},
			Open: 1, Backlog: 128, Time: s.Time,
		}
		if i < 100 {
			r.Accepted, r.Depth, r.OldestQueued = uint64(at)*uint64(i), uint32(100-i), s.Time-second
		}
		s.Listeners = append(s.Listeners, ui.Listener{Row: r})
	}
	return s
}

func TestTenThousandListeners(t *testing.T) {
	m := New(Options{})
	m.Begin(about())
	m.Resize(80, 24)
	for s := range int64(5) {
		m.Take(many(s))
	}
	for range 3 {
		m.Key("pgdn")
	}
	f := m.Frame()
	fits(t, f, 80, 24)
	golden.Compare(t, "many_80.txt", []byte(f.String()))
	used := 0
	for _, p := range m.board.places {
		if p.history.points != nil {
			used++
		}
	}
	if used != 100 {
		t.Errorf("%d listeners have a history, and 100 were used", used)
	}
	m.Key("G")
	if got := m.list[m.cursor].address(); got != "10.1.39.15:8000" {
		t.Errorf("the last one is %s", got)
	}
}

func BenchmarkTenThousandListeners(b *testing.B) {
	m := New(Options{})
	m.Begin(about())
	m.Resize(200, 50)
	s := many(1)
	b.Run("Take", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Time += second
			m.Take(s)
		}
	})
	b.Run("Take filtered by rate", func(b *testing.B) {
		m.filter, m.sort = "10.1", byRate
		for b.Loop() {
			s.Time += second
			m.Take(s)
		}
		m.filter, m.sort = "", byWorst
	})
	b.Run("Key and Frame", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Key("pgdn")
			m.Frame()
		}
	})
}
