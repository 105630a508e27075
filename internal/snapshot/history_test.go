package snapshot

import (
	"testing"
	"time"

	"acceptwatch/internal/event"
)

// found is a look at one queue, at a time in s, that lists entries by their
// ports and when they were queued, in s. What was hidden below 0 was accepted
// before the depth was read again.
type found struct {
	at     int64
	hidden int
	ports  []uint16
	queued []float64 // 0: not known
}

func (f *found) look(h *History, walked bool) int64 {
	const at = "127.0.0.1:80"
	l := New(Options{Walked: walked, Before: h})
	depth := len(f.ports)
	bound := listening(1, at, uint32(depth+max(0, f.hidden)), 128)
	bound.Time = f.at * second
	l.Listener(bound)
	for i, port := range f.ports {
		e := queued(at, port, est, -1)
		e.Time, e.Queued, e.DepthAtEntry = f.at*second, int64(f.queued[i]*float64(second)), 5
		l.Queued(e)
	}
	bound.Depth = uint32(depth + f.hidden)
	l.Again(bound)
	none := l.Queues()[0].Accepts.NoneSince / second
	h.Turn()
	return none
}

func TestNothingIsAcceptedWhileTheHeadStays(t *testing.T) {
	for _, test := range []struct {
		name   string
		walked bool
		looks  []found
		want   int64 // s: of the last look; 0: not known
	}{
		{"the first look", true, []found{{10, 0, []uint16{1, 2}, []float64{1, 2}}}, 0},
		{"the head stays", true, []found{
			{10, 0, []uint16{1, 2}, []float64{1, 2}}, {11, 0, []uint16{1, 2, 3}, []float64{1, 2, 3}}}, 10},
		{"it stays since the first look", true, []found{
			{10, 0, []uint16{1}, []float64{1}}, {11, 0, []uint16{1}, []float64{1}}, {12, 0, []uint16{1}, []float64{1}}}, 10},
		{"the head goes", true, []found{
			{10, 0, []uint16{1, 2}, []float64{1, 2}}, {11, 0, []uint16{2, 3}, []float64{2, 3}}}, 0},
		{"another one with the same port", true, []found{
			{10, 0, []uint16{1}, []float64{1}}, {11, 0, []uint16{1}, []float64{10.5}}}, 0},
		{"since the one that came then stays", true, []found{
			{10, 0, []uint16{1, 2}, []float64{1, 2}}, {11, 0, []uint16{2}, []float64{2}}, {12, 0, []uint16{2}, []float64{2}}}, 11},
		{"empty between", true, []found{
			{10, 0, []uint16{1}, []float64{1}}, {11, 0, nil, nil}, {12, 0, []uint16{1}, []float64{1}}}, 0},

		{"listed, and ages are not exact", false, []found{
			{10, 0, []uint16{1, 2}, []float64{1.01, 1.02}}, {11, 0, []uint16{2, 1}, []float64{1.015, 1.016}}}, 10},
		{"one that may have been the head goes", false, []found{
			{10, 0, []uint16{1, 2}, []float64{1.01, 1.02}}, {11, 0, []uint16{2}, []float64{1.02}}}, 0},
		{"one that was not the head goes", false, []found{
			{10, 0, []uint16{1, 2}, []float64{1, 2}}, {11, 0, []uint16{1}, []float64{1}}}, 10},
		{"the head may not have been listed", false, []found{
			{10, 1, []uint16{1, 2}, []float64{1, 2}}, {11, 1, []uint16{1, 2}, []float64{1, 2}}}, 0},
		{"one behind the head is not listed any more", false, []found{
			{10, 0, []uint16{1, 2}, []float64{1, 2}}, {11, 1, []uint16{1}, []float64{1}}, {12, 1, []uint16{1}, []float64{1}}}, 10},
		{"a Fast Open may be the head", true, []found{
			{10, 0, []uint16{1, 2}, []float64{0, 2}}, {11, 0, []uint16{2}, []float64{2}}}, 0},
		{"a Fast Open may be before what is listed", false, []found{
			{10, 0, []uint16{2, 1}, []float64{2, 0}}, {11, 0, []uint16{2}, []float64{2}}}, 0},
		{"accepted before the depth was read again", false, []found{
			{10, -1, []uint16{1, 2}, []float64{1, 2}}, {11, 0, []uint16{1, 2}, []float64{1, 2}}}, 0},
		{"listed, and all accepted since", false, []found{
			{10, 0, []uint16{1}, []float64{1}}, {11, -1, []uint16{1}, []float64{1}}}, 0},
		{"listed in another order", false, []found{
			{10, 0, []uint16{3, 2, 1}, []float64{3, 2, 1}}, {11, 0, []uint16{2, 1, 3}, []float64{2, 1, 3}}}, 10},
	} {
		var (
			h    History
			none int64
		)
		for i := range test.looks {
			none = test.looks[i].look(&h, test.walked)
		}
		if none != test.want {
			t.Errorf("%s: nothing accepted since %d s, want %d", test.name, none, test.want)
		}
	}
}

// Too many that came at once are not remembered, and then nothing is claimed.
func TestCrowdAtTheHead(t *testing.T) {
	var h heads
	for i := range mostHeads + 1 {
		h.add(&event.Event{Cookie: uint64(i + 1), Queued: second + int64(i)}, false)
	}
	if !h.more || len(h.list) != mostHeads {
		t.Errorf("more %v of %d", h.more, len(h.list))
	}
	h.add(&event.Event{Cookie: 1 << 20, Queued: second - int64(time.Minute)}, false)
	if h.more || len(h.list) != 1 {
		t.Errorf("an older one: more %v of %d", h.more, len(h.list))
	}
}
