package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// hastyKernel goes on by two seconds whenever it is read, so that no scrape
// shares what another has read.
type hastyKernel struct {
	*fakeKernel
	sampled atomic.Int64 // with waits
	broken  atomic.Bool  // samples fail
	hasty   bool
}

func (k *hastyKernel) Read(fn func(*event.Event)) error {
	for range 19 {
		if k.hasty {
			if err := k.fakeKernel.Read(fn); err != nil {
				return err
			}
		}
	}
	return k.fakeKernel.Read(fn)
}

func (k *hastyKernel) Sample(waits bool) (*listener.Sample, error) {
	if k.broken.Load() {
		return nil, errors.New("read counts: broken")
	}
	if waits {
		k.sampled.Add(1)
	}
	return k.fakeKernel.Sample(waits)
}

func (k *hastyKernel) LossKinds() []string { return []string{"ring_full"} }

// serving is a serve command that runs.
type serving struct {
	t      *testing.T
	client *http.Client
	url    string
	cancel context.CancelFunc
	ended  chan int // the exit code
	once   sync.Once
	code   int
}

// addresses are those that a log says are served at.
type addresses chan string

func (a addresses) Write(line []byte) (int, error) {
	var said struct{ Message, Address string }
	if json.Unmarshal(line, &said) == nil && said.Message == "serving" {
		a <- said.Address
	}
	return len(line), nil
}

// serve runs the command on a source, until the test ends or stop is called.
func serve(t *testing.T, open openSource, k *fakeKernel, args ...string) *serving {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	at := make(addresses, 8)
	var out strings.Builder
	a := fakeApp(k, nil)
	a.Out, a.Err, a.log, a.openSource = &out, &out, zerolog.New(at), open
	ctx, cancel := context.WithCancel(t.Context())
	s := &serving{t: t, client: &http.Client{Transport: &http.Transport{}}, cancel: cancel, ended: make(chan int, 1)}
	go func() { s.ended <- a.run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)) }()
	t.Cleanup(func() {
		if code := s.stop(); code != exitDone {
			t.Errorf("exit code %d: %s", code, out.String())
		}
	})
	select {
	case address := <-at:
		s.url = "http://" + address
	case code := <-s.ended:
		s.ended <- code
		t.Fatalf("it does not serve: %s", out.String())
	}
	return s
}

func (s *serving) stop() int {
	s.once.Do(func() {
		s.cancel()
		s.code = <-s.ended
		s.client.CloseIdleConnections()
	})
	return s.code
}

func (s *serving) get(path string) (int, string) {
	s.t.Helper()
	r, err := s.client.Get(s.url + path)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	return r.StatusCode, string(body)
}

// await asks until the answer has this status.
func (s *serving) await(path string, status int) string {
	s.t.Helper()
	for {
		switch got, body := s.get(path); got {
		case status:
			return body
		case 0:
			s.t.FailNow()
		}
	}
}

func opens(k source) openSource {
	return func(context.Context, sourceOptions) (source, error) { return k, nil }
}

// wantMetrics checks that there are these lines.
func wantMetrics(t *testing.T, body string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains(body, "\nacceptwatch_"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("no %s among\n%s", line, strings.Join(slices.DeleteFunc(strings.Split(body, "\n"),
				func(l string) bool { return !strings.HasPrefix(l, "acceptwatch_"+name) }), "\n"))
		}
	}
}
