package cli

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/listener"
)

// crowdedKernel is the fake kernel's listener, which is stalled, and others that
// close: as those of the kernel, their last counts are told once.
type crowdedKernel struct {
	*fakeKernel
	leaving []listener.Counted
	gave    []listener.AcceptError // failures of a process that ended
	follows []int64                // ns: when it was told who holds what
}

func (k *crowdedKernel) Sample(waits bool) (*listener.Sample, error) {
	s, err := k.fakeKernel.Sample(waits)
	if err != nil {
		return nil, err
	}
	s.Listeners = append(s.Listeners, k.leaving...)
	s.AcceptErrors = append(s.AcceptErrors, k.gave...)
	k.leaving, k.gave = nil, nil
	return s, nil
}

func (k *crowdedKernel) SetHeld([]heldSocket) error {
	k.follows = append(k.follows, k.now)
	return nil
}

// slowKernel has so many listeners that a sample takes long.
type slowKernel struct {
	*fakeKernel
	takes   time.Duration
	sampled int
}

func (k *slowKernel) Sample(waits bool) (*listener.Sample, error) {
	k.sampled++
	k.now += int64(k.takes)
	return k.fakeKernel.Sample(waits)
}

func TestSamplesTakeASmallPartOfACPU(t *testing.T) {
	for _, tt := range []struct {
		takes time.Duration
		every time.Duration
	}{
		{time.Millisecond, time.Duration(sampleEvery)},
		{60 * time.Millisecond, samplesShare * 60 * time.Millisecond},
		{time.Second, time.Duration(rarestSample)},
	} {
		k := &slowKernel{fakeKernel: newFakeKernel(), takes: tt.takes}
		k.now = began
		a := fakeApp(k.fakeKernel, new(bytes.Buffer))
		l := newLive(a, k, &traceOptions{stallAfter: time.Second}, silent{}, newWallClock(&a.env))
		if err := l.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.sampled = 0
		const span = time.Minute
		for until := k.now + int64(span); k.now < until; {
			if err := l.step(context.Background(), k.now); err != nil {
				t.Fatal(err)
			}
		}
		// Each begins when it is looked at the clock next.
		most := int(span / tt.every)
		if k.sampled > most || k.sampled < most*3/4 {
			t.Errorf("when a sample takes %v, there are %d in %v, want one in %v", tt.takes, k.sampled, span, tt.every)
		}
	}
}

// stalledLive has looked at a queue of which nobody accepts for three seconds.
func stalledLive(t *testing.T, o *traceOptions) (*live, *crowdedKernel) {
	t.Helper()
	k := &crowdedKernel{fakeKernel: newFakeKernel(enters(0, 40001), fails(0, 123, 24, 7, true))}
	k.now = began
	a := fakeApp(k.fakeKernel, new(bytes.Buffer))
	o.stallAfter = time.Second
	l := newLive(a, k, o, silent{}, newWallClock(&a.env))
	l.sampleEvery = second // as `top` and `serve` do: a sample confirms stalls each time
	if err := l.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	goOn(t, l, k, 3*second)
	return l, k
}

func goOn(t *testing.T, l *live, k *crowdedKernel, span int64) {
	t.Helper()
	for until := k.now + span; k.now < until; {
		if err := l.step(context.Background(), k.now); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCountsOfClosedListenersSurviveTheStallOfAnother(t *testing.T) {
	l, k := stalledLive(t, &traceOptions{})
	walked := l.walked
	const closed = 8
	for i := range uint16(closed) {
		var waits listener.Histogram
		waits.Add(7 * time.Millisecond)
		key := listener.Key{NetNS: testNetNS, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 9000+i)}
		k.leaving = append(k.leaving, listener.Counted{ID: uint64(500 + i), Key: key, Family: 2, Closed: true,
			Enqueued: 4, Accepted: 1, Purged: 3, Waits: &waits})
		k.gave = append(k.gave, listener.AcceptError{ListenerID: uint64(500 + i), Key: key, PID: 900, Errno: 24, Count: 5, Last: k.now})
		goOn(t, l, k, second)
	}
	if l.walked-walked < (closed-1)*second {
		t.Fatalf("nothing was confirmed: last walk %v after the first", time.Duration(l.walked-walked))
	}
	var accepted, purged, waits, failed uint64
	for _, r := range l.table.Rows() {
		if r.Key.Addr.Port() >= 9000 {
			accepted, purged, waits, failed = accepted+r.Accepted, purged+r.Purged, waits+r.Wait.Count, failed+r.Failed()
		} else if r.Failed() != 7 {
			t.Errorf("%d failures, of 7, at the one that is stalled", r.Failed())
		}
	}
	if accepted != closed || purged != 3*closed || waits != closed || failed != 5*closed {
		t.Errorf("of %d closed listeners: %d accepted, %d purged, %d waits, %d failed", closed, accepted, purged, waits, failed)
	}
}

func TestProcessesAreFollowedDuringAStall(t *testing.T) {
	l, k := stalledLive(t, &traceOptions{filter: filter.Filter{Comms: []string{"python3"}}})
	before := len(k.follows)
	goOn(t, l, k, 4*walkEvery)
	if n := len(k.follows) - before; n != 4 {
		t.Errorf("followed %d times in %v", n, time.Duration(4*walkEvery))
	}
}
