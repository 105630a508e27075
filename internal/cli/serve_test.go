package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"acceptwatch/internal/event"
)

// A server that runs out of descriptors, is full, refuses, and ends.
func TestServeShowsWhatTheKernelCounts(t *testing.T) {
	k := &hastyKernel{fakeKernel: starvingKernel(), hasty: true}
	var asked sourceOptions
	s := serve(t, func(_ context.Context, o sourceOptions) (source, error) {
		asked = o
		return k, nil
	}, k.fakeKernel, "--labels", "listener,process", "--port", "8000")
	s.await("/-/ready", http.StatusOK)
	var body string
	for !strings.Contains(body, `purged_total{listener="127.0.0.1:8000",process="python3"} 3`) {
		body = s.await("/metrics", http.StatusOK)
	}
	wantMetrics(t, body,
		`accepted_total{listener="127.0.0.1:8000",process="python3"} 1`,
		`accept_wait_seconds_count{listener="127.0.0.1:8000",process="python3"} 1`,
		`enqueued_total{listener="127.0.0.1:8000",process="python3"} 4`,
		`close_wait_total{listener="127.0.0.1:8000",process="python3"} 1`,
		`overflow_total{at="syn",listener="127.0.0.1:8000",process="python3"} 2`,
		`overflow_total{at="ack",listener="127.0.0.1:8000",process="python3"} 1`,
		`accept_queue_max_depth{listener="127.0.0.1:8000",process="python3"} 3`, `listeners 0`, `mode_info{mode="fentry"} 1`,
		`accept_errors_total{errno="ENFILE",listener="127.0.0.1:8000",process="python3"} 0`,
		`lost_total{what="ring_full"} 0`, `lost_total{what="dead_not_tracked"} 0`)
	if strings.Contains(body, "\nacceptwatch_accept_queue_depth{") {
		t.Error("a listener that has closed has a queue")
	}
	if !strings.Contains(body, "\ngo_goroutines ") || !strings.Contains(body, "\nprocess_cpu_seconds_total ") {
		t.Error("what it costs itself is not there")
	}
	s.stop()
	// Connections make no event.
	if !slices.Equal(asked.Kinds, []event.Kind{event.ListenerClosed}) || len(asked.Filter.Ports) != 1 {
		t.Errorf("asked for %+v", asked)
	}
	if !k.closed {
		t.Error("the source was not closed")
	}
}

// pendingKernel is read for the first time when attach is closed, or the test is over.
type pendingKernel struct {
	*hastyKernel
	attach chan struct{}
	over   <-chan struct{}
}

func (k *pendingKernel) Read(fn func(*event.Event)) error {
	select {
	case <-k.attach:
	case <-k.over:
	}
	return k.hastyKernel.Read(fn)
}

// It is ready when it is attached and looking works, and healthy as long as it
// lives.
func TestServeIsReadyWhenLookingWorks(t *testing.T) {
	attach := make(chan struct{})
	k := &pendingKernel{&hastyKernel{fakeKernel: incidentKernel(), hasty: true}, attach, t.Context().Done()}
	s := serve(t, opens(k), k.fakeKernel)
	want := func(ready, metrics int) {
		t.Helper()
		s.await("/-/ready", ready)
		s.await("/metrics", metrics)
		s.await("/-/healthy", http.StatusOK)
		s.await("/-/ready", ready)
	}
	want(http.StatusServiceUnavailable, http.StatusInternalServerError)
	close(attach)
	want(http.StatusOK, http.StatusOK)
	k.broken.Store(true)
	s.await("/metrics", http.StatusInternalServerError)
	want(http.StatusServiceUnavailable, http.StatusInternalServerError)
	k.broken.Store(false)
	s.await("/metrics", http.StatusOK)
	want(http.StatusOK, http.StatusOK)
	if page := s.await("/", http.StatusOK); !strings.Contains(page, `href="/metrics"`) {
		t.Errorf("the first page has no link: %s", page)
	}
	s.await("/nowhere", http.StatusNotFound)
}

// Scrapes at the same time are answered by one look, and do not disturb each
// other; so are those of the next second.
func TestScrapesShareALook(t *testing.T) {
	k := &hastyKernel{fakeKernel: incidentKernel()}
	s := serve(t, opens(k), k.fakeKernel)
	s.await("/-/ready", http.StatusOK)
	var all sync.WaitGroup
	answers := make([]string, mostScrapes)
	for i := range answers {
		all.Go(func() {
			for range 20 {
				if status, body := s.get("/metrics"); status == http.StatusOK {
					answers[i] = body
				} else {
					t.Errorf("status %d: %s", status, body)
				}
			}
		})
	}
	all.Wait()
	for _, body := range answers {
		wantMetrics(t, body, `accept_queue_depth{listener="127.0.0.1:8000",netns="4026531840",port="8000"} 2`)
	}
	// The fake kernel's clock goes on by 100 ms at a read, of which there is one
	// a second.
	if n := k.sampled.Load(); n < 1 || n > 20 {
		t.Errorf("%d looks for %d scrapes", n, 20*len(answers))
	}
}
