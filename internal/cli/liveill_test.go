package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// ward of listeners at ports from 8001 on, as many as there are inodes from 1 on,
// each with connections in its queue since the start. Diagnoses end when asked to.
type illWard struct {
	*live
	kernel *fakeKernel
	asked  []uint32 // inodes, in the order of their diagnoses
	answer chan struct{}
	logs   bytes.Buffer
	at     int64
	counts []listener.Counted
}

func newIllWard(t *testing.T, listeners int) *illWard {
	t.Helper()
	w := &illWard{kernel: newFakeKernel(), answer: make(chan struct{}), at: began}
	w.kernel.now = began
	a := fakeApp(w.kernel, new(bytes.Buffer))
	a.log = zerolog.New(&w.logs)
	a.env.evidence = func(ctx context.Context, s suspect, _ time.Duration, _ string, _ bool) (*diagnose.Evidence, error) {
		select {
		case <-w.answer:
		case <-ctx.Done():
		}
		return &diagnose.Evidence{Inode: s.inode, Listener: s.address.String()}, nil
	}
	a.env.spawn = func(run func()) { go run() }
	w.live = newLive(a, w.kernel, &traceOptions{stallAfter: time.Second}, silent{}, newWallClock(&a.env))
	t.Cleanup(w.dismiss)
	for i := range listeners {
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(8001+i))
		w.counts = append(w.counts, listener.Counted{ID: uint64(1 + i), Key: listener.Key{NetNS: testNetNS, Addr: at}, Family: 2,
			Inode: uint32(1 + i), Depth: 3, Backlog: 16, Enqueued: 3, NonEmptySince: began + int64(i)})
	}
	return w
}

// passes is time, after which the counts are read.
func (w *illWard) passes(d time.Duration) {
	w.at += int64(d)
	w.table.Update(&listener.Sample{Time: w.at, Listeners: slices.Clone(w.counts)}, w.emit)
	w.note()
}

// recovers is the end of the stall of a listener.
func (w *illWard) recovers(inode uint32) {
	c := &w.counts[inode-1]
	c.Depth, c.Accepted, c.LastAccept, c.NonEmptySince = 0, 3, w.at, 0
}

// note writes down who is being diagnosed, if it is another one.
func (w *illWard) note() {
	if w.doctor.busy && (len(w.asked) == 0 || w.asked[len(w.asked)-1] != w.ill.inode) {
		w.asked = append(w.asked, w.ill.inode)
	}
}

// ends ends the diagnosis that goes on.
func (w *illWard) ends() {
	w.answer <- struct{}{}
	for was := w.ill; w.doctor.busy && w.ill == was; {
		w.recovered()
	}
	w.note()
}

func TestStallsThatBeginTogetherAreDiagnosedInTurn(t *testing.T) {
	w := newIllWard(t, 4)
	w.passes(2 * time.Second)
	w.recovers(2)
	w.passes(time.Second)
	for range 3 {
		if w.doctor.busy {
			w.ends()
		}
	}
	if want := []uint32{1, 3, 4}; !slices.Equal(w.asked, want) || w.doctor.busy {
		t.Errorf("diagnosed %v, want %v: the second ended before its turn", w.asked, want)
	}
	if err := w.finish(t.Context()); err != nil || !strings.Contains(w.logs.String(), "1 stall not diagnosed, because another one was being looked at") {
		t.Errorf("%v: it does not tell of the one that was not: %s", err, w.logs.String())
	}
}

// A stall of a listener whose last one was passed over is another one.
func TestAStallThatBeginsAgainIsDiagnosedOnce(t *testing.T) {
	w := newIllWard(t, 2)
	w.passes(2 * time.Second)
	w.recovers(2)
	w.passes(time.Second)
	w.counts[1].Depth, w.counts[1].NonEmptySince, w.counts[1].Enqueued = 1, w.at+1, 4
	w.passes(2 * time.Second)
	w.ends()
	w.ends()
	if want := []uint32{1, 2}; !slices.Equal(w.asked, want) || w.doctor.busy || w.undiagnosed != 1 {
		t.Errorf("diagnosed %v, and %d not; want %v, and 1", w.asked, w.undiagnosed, want)
	}
}

func TestStallsThatFindNoRoomAreCounted(t *testing.T) {
	const more = 5
	w := newIllWard(t, 1+mostPassedOver+more)
	w.passes(2 * time.Second)
	if len(w.passedOver) != mostPassedOver || w.undiagnosed != more {
		t.Errorf("%d are remembered and %d are not, want %d and %d", len(w.passedOver), w.undiagnosed, mostPassedOver, more)
	}
	if err := w.finish(t.Context()); err != nil || !strings.Contains(w.logs.String(), fmt.Sprintf("%d stalls not diagnosed", mostPassedOver+more)) {
		t.Errorf("%v: %s", err, w.logs.String())
	}
}

// The listener that somebody looks at does not wait for its turn.
func TestTheStallThatSomebodyAsksAboutComesNext(t *testing.T) {
	w := newIllWard(t, 3)
	w.passes(2 * time.Second)
	for _, row := range w.table.Rows() {
		if row.Inode != 2 { // the one that is diagnosed, and the last
			w.examine(&row)
			w.examine(&row)
		}
	}
	for range 3 {
		w.ends()
	}
	if want := []uint32{1, 3, 2}; !slices.Equal(w.asked, want) || w.doctor.busy {
		t.Errorf("diagnosed %v, want %v, each once", w.asked, want)
	}
}

// A stall that begins during another's diagnosis costs no look at the listeners.
func TestAStallDuringADiagnosisIsOnlyRemembered(t *testing.T) {
	l := &live{doctor: &diagnostician{busy: true}}
	l.fellIll(&event.Event{Inode: 7, Queued: 5})
	if want := []stall{{inode: 7, since: 5}}; !slices.Equal(l.passedOver, want) {
		t.Errorf("remembered %+v, want %+v", l.passedOver, want)
	}
}
