package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"acceptwatch/internal/listener"
)

// sampledTrace is one of mode restricted: 50 connections, of which a look caught two.
func sampledTrace(t *testing.T) []byte {
	var b bytes.Buffer
	h := header()
	h.Mode = listener.Restricted
	s := newStory(t, &b, h)
	web := s.listen("192.0.2.1:8000", 128, 4711, "gunicorn")
	at := &listener.AtAddress{Key: web.counted.Key}
	s.addrs[at.Key] = at
	look := func(after int64) {
		s.now = began + after
		s.walk()
		s.now += 50 * ms
		s.sample(true)
	}
	look(100 * ms)
	at.Enqueued = 50
	s.now += ms
	s.sample(false)
	for range 2 {
		s.enter(web)
	}
	look(300 * ms)
	s.now = began + 400*ms
	for range 2 {
		s.accept(web)
	}
	web.counted.Enqueued = 0 // it is counted by address
	look(500 * ms)
	s.close()
	return b.Bytes()
}

func TestAcceptedBetweenTwoLooksAreReported(t *testing.T) {
	r := read(t, sampledTrace(t))
	if l := &r.Listeners[0]; l.Accepted != 50 || l.Seen != 2 || l.Lost != 0 || l.quantiles() {
		t.Errorf("accepted %d, seen %d, lost %d, quantiles of all: %t", l.Accepted, l.Seen, l.Lost, l.quantiles())
	}
	const want = "Nothing went wrong in 450 ms: 1 listener accepted 50 connections, 2 of them seen waiting, up to 249 ms."
	if v := r.Verdict(time.UTC); v.Headline != want {
		t.Errorf("%q, want %q", v.Headline, want)
	}
	var text, lines, page bytes.Buffer
	for _, err := range []error{WriteText(&text, r, TextOptions{}), WriteJSON(&lines, r), WriteHTML(&page, r, HTMLOptions{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, word := range []string{`"accepted":50,"accepted_seen":2,"seen_wait_ns":{"p50":`, `"purged":0,"unaccepted"`} {
		if !strings.Contains(lines.String(), word) {
			t.Errorf("no %s in\n%s", word, lines.String())
		}
	}
	for out, words := range map[*bytes.Buffer][]string{
		&text: {"50 accepted         2 of them seen waiting: p50"},
		&page: {"2 of them seen waiting", "those that a look caught waiting"},
	} {
		for _, word := range words {
			if !strings.Contains(out.String(), word) {
				t.Errorf("no %q in\n%s", word, out.String())
			}
		}
	}
	if strings.Contains(text.String(), "unexplained") {
		t.Errorf("unexplained:\n%s", text.String())
	}
}
