package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/recording"
)

func htmlOf(tb testing.TB, r *Report) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r, HTMLOptions{}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// crowd is a trace of 1,000 listeners, of which 20 have trouble.
func crowd(tb testing.TB) []byte {
	var b bytes.Buffer
	s := newStory(tb, &b, header())
	for i := range 1000 {
		s.listen("10.0."+itoa(i/250)+"."+itoa(i%250+1)+":"+itoa(8000+i), 128, uint32(3000+i), "worker-"+itoa(i%7))
	}
	s.walk()
	s.owners()
	for at := int64(0); at < 240*second; at += 100 * ms {
		s.now = began + at
		for i, l := range s.sites {
			if (at/(100*ms)+int64(i))%int64(4+i%40) == 0 {
				s.enter(l)
			}
			broken := i < 20 && at > int64(20+5*i)*second && at < int64(60+8*i)*second
			for k := range l.queue {
				if q := &l.queue[k]; broken && q.state == event.Established && q.queued+(2+int64(i%3))*second < s.now {
					s.die(l, k, event.CloseWait)
				}
			}
			for len(l.queue) > 0 && !broken && s.random.IntN(8) > 0 {
				s.accept(l)
			}
			if broken && i%4 == 0 && at%second == 0 {
				s.fail(l, unix.EMFILE, 30)
			}
		}
		if at%second == 0 {
			s.sample(false)
		}
	}
	s.close()
	return b.Bytes()
}

// quiet is a trace without trouble.
func quiet(tb testing.TB) []byte {
	var b bytes.Buffer
	s := newStory(tb, &b, header())
	l := s.listen("127.0.0.1:8000", 128, 1, "server")
	s.walk()
	for range 200 {
		s.enter(l)
		s.now += int64(s.random.ExpFloat64() * float64(2*ms))
		s.accept(l)
		s.now += 50 * ms
	}
	s.close()
	return b.Bytes()
}

// hostile is a trace of names that would break out of a page.
func hostile(tb testing.TB) []byte {
	var b bytes.Buffer
	const script = `</script><b><script>owned=1</script><img src=x onerror=owned=1>`
	h := header()
	h.Host, h.Mode, h.Why, h.Filter, h.Limits = script, script, script, script, []string{script, "\x1b[31mred\x07"}
	s := newStory(tb, &b, h)
	l := s.listen("127.0.0.1:8000", 8, 1, "</script><b>\x1b[7")
	s.walk()
	s.must(s.w.WriteOwners(&recording.Owners{Time: s.now, Missing: []string{script}, Listening: []recording.Owner{
		{Inode: l.counted.Inode, PID: 1, Comm: script, Threads: []string{script}}}}))
	for range 4 {
		s.enter(l)
	}
	s.now += 3 * second
	s.sample(false)
	s.fail(l, unix.EMFILE, 3)
	s.die(l, 0, event.CloseWait)
	s.now += second
	s.accept(l)
	s.close()
	return b.Bytes()
}

func itoa(n int) string { return strconv.Itoa(n) }

// The page is well-formed, needs nothing from elsewhere, and is of a bounded
// size.
func TestPageStandsAlone(t *testing.T) {
	for name, trace := range map[string][]byte{"incident": incident(t), "crowd": crowd(t), "quiet": quiet(t), "hostile": hostile(t)} {
		t.Run(name, func(t *testing.T) {
			page := htmlOf(t, read(t, trace))
			t.Logf("%d bytes", len(page))
			if len(page) > 2<<20 {
				t.Errorf("%d bytes", len(page))
			}
			for _, bad := range regexp.MustCompile(`(?i)(?:src|href|action|url)\s*[=(]\s*["']?(?:https?:)?//[^"']*|@import[^;]*|<link[^>]*>`).FindAllString(string(page), -1) {
				t.Errorf("it refers to %s", bad)
			}
			for _, url := range regexp.MustCompile(`https?://[^"' <]*`).FindAllString(string(page), -1) {
				if url != "http://www.w3.org/2000/svg" { // the name of a namespace
					t.Errorf("it has the address %s", url)
				}
			}
			if bytes.Contains(page, []byte("ZgotmplZ")) {
				t.Error("the template refused a value")
			}
			if err := wellFormed(page); err != nil {
				t.Error(err)
			}
		})
	}
}

// wellFormed checks that elements are closed as they were opened.
func wellFormed(page []byte) error {
	// Scripts and styles are no markup.
	body := regexp.MustCompile(`(?s)(<script[^>]*>|<style>).*?(</script>|</style>)`).ReplaceAll(page, []byte("$1$2"))
	body = bytes.Replace(body, []byte("<!doctype html>"), nil, 1)
	// Attributes without a value are HTML.
	body = regexp.MustCompile(` (hidden)([ >])`).ReplaceAll(body, []byte(` $1=""$2`))
	body = regexp.MustCompile(`<(meta|br|input)([^>]*)>`).ReplaceAll(body, []byte(`<$1$2/>`))
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// The names of processes and what the file says are text, in the page and in a
// terminal.
func TestHostileNamesAreText(t *testing.T) {
	r := read(t, hostile(t))
	page := string(htmlOf(t, r))
	for _, bad := range []string{"<img", "<b>", "<script>owned", "\x1b", "\x07"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if n := strings.Count(page, "</script>"); n != 2 {
		t.Errorf("%d scripts end", n)
	}
	var text bytes.Buffer
	if err := WriteText(&text, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\x07") {
		t.Error("the text has what a terminal obeys")
	}
}
