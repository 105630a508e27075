package report

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
)

// A stall is not said to be of a server that called nothing, if accept() began
// to fail only after the stall was noticed.
func TestFailuresAfterAStallWasNoticedAreItsCause(t *testing.T) {
	var b bytes.Buffer
	s := newStory(t, &b, header())
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	s.walk()
	s.enter(web)
	for at := 200 * ms; at <= 10*second; at += 200 * ms {
		s.now = began + at
		s.sample(false)
		if at >= 5*second {
			s.fail(web, unix.EMFILE, 1000)
		}
	}
	s.close()
	r := read(t, b.Bytes())
	if len(r.Stalls) != 1 {
		t.Fatalf("%d stalls", len(r.Stalls))
	}
	if st := r.Stalls[0]; st.Errno != uint16(unix.EMFILE) || st.Failing.PID != 4711 || st.Failed != 26000 {
		t.Errorf("errno %d, failing %v, %d failures", st.Errno, st.Failing, st.Failed)
	}
}

// The failures of a stall are those since the last accept, not those of stalls
// before it.
func TestEachStallHasItsOwnFailures(t *testing.T) {
	var b bytes.Buffer
	s := newStory(t, &b, header())
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	s.walk()
	for range 2 {
		s.enter(web)
		s.fail(web, unix.EMFILE, 1)
		for range 15 {
			s.now += 200 * ms
			s.sample(false)
		}
		s.fail(web, unix.EMFILE, 2000)
		s.now += 200 * ms
		s.accept(web)
		s.now += second
	}
	s.close()
	r := read(t, b.Bytes())
	if len(r.Stalls) != 2 {
		t.Fatalf("%d stalls", len(r.Stalls))
	}
	for _, st := range r.Stalls {
		if st.Errno != uint16(unix.EMFILE) || st.Failed != 2001 {
			t.Errorf("errno %d, %d failures from %d on", st.Errno, st.Failed, st.From-began)
		}
	}
}

// Who had given up before the recording began did so in the stall that it found.
func TestAStallFromBeforeTheRecordingCountsWhoWasFoundDead(t *testing.T) {
	var b bytes.Buffer
	h := header()
	h.Start = began + 10*second
	s := newStory(t, &b, h)
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	for range 8 {
		s.now += 100 * ms
		s.enter(web)
	}
	for i := range 6 { // nobody saw them do it
		web.queue[i].state = event.CloseWaited
	}
	s.now = h.Start
	s.walk()
	for range 10 {
		s.now += 200 * ms
		s.sample(false)
	}
	s.die(web, 7, event.CloseWait)
	for len(web.queue) > 0 {
		s.now += ms
		s.accept(web)
	}
	s.now += 100 * ms
	s.enter(web) // another stall, which began later
	for range 10 {
		s.now += 200 * ms
		s.sample(false)
	}
	s.close()
	r := read(t, b.Bytes())
	if len(r.Stalls) != 2 {
		t.Fatalf("%d stalls", len(r.Stalls))
	}
	if first, second := r.Stalls[0], r.Stalls[1]; first.From >= h.Start || first.Dead != 7 || second.Dead != 0 {
		t.Errorf("%d gave up in the first stall, want 7, %d in the second, want none", first.Dead, second.Dead)
	}
}
