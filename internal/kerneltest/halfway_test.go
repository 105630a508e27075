//go:build kernel

package kerneltest

import (
	"regexp"
	"testing"
	"time"
)

// queuedLine is an entry of the queue in the header.
var queuedLine = regexp.MustCompile(`^  (?:!! )?(\S+) from (\S+) for ([0-9.]+) (ns|µs|ms|s)(?:, (CLOSE_WAIT|CLOSE): [^,]*)?(?:, 1 byte unread)?$`)

func TestAttachHalfway(t *testing.T) {
	// exactly is what counts as exact: two clocks are read one after the other.
	const exactly = 5 * time.Millisecond
	everyMode(t, func(t *testing.T, mode string) {
		l := listen(t, "127.0.0.1:0", 16)
		var all []*dialed
		states := []string{"ESTABLISHED", "CLOSE_WAIT", "ESTABLISHED", "CLOSE", "CLOSE_WAIT"}
		for _, state := range states {
			d := dial(t, l.addr)
			all = append(all, d)
			switch state {
			case "CLOSE_WAIT":
				check(t, d.Close())
			case "CLOSE":
				d.reset(t)
			}
		}
		await(t, "their deaths", func() bool {
			n := 0
			for _, row := range ss(t) {
				if row.local == l.addr && (row.state == "CLOSE-WAIT" || row.state == "ESTAB") {
					n++ // the reset one has no row
					if d := all[1]; row.peer == d.addr && row.state != "CLOSE-WAIT" {
						return false
					}
					if d := all[4]; row.peer == d.addr && row.state != "CLOSE-WAIT" {
						return false
					}
				}
			}
			return n == len(all)-1
		})

		starting := time.Now()
		text := traceText(t, mode, "--port", portOf(t, l.addr))
		wantHeader(t, text, l.addr, all, states, starting, time.Now())
		starting = time.Now()
		tr := traceJSON(t, mode, "--port", portOf(t, l.addr))
		first := tr.first(l.addr)
		if first.Oldest == nil || *first.Oldest < starting.Sub(all[0].after)-exactly || *first.Oldest > time.Since(all[0].before)+exactly {
			t.Errorf("the oldest is not that of %v ago: %s", time.Since(all[0].before), describe(first))
		}
		wantAsSS(t, first, ss(t))
		if u := first.Unaccepted; *u.Established != 2 || u.CloseWait != 2 || u.Close != 1 {
			t.Errorf("queued at the start: %s; want 2 ESTABLISHED, 2 CLOSE_WAIT, 1 CLOSE", describe(first))
		}

		// Each is then accepted with the time at which it was queued.
		for range all {
			l.accept()
		}
		for i, e := range tr.awaitEvents("accepted", len(all)) {
			queued := e.Time.Add(-e.wait(t))
			if e.Peer != all[i].addr || e.State != states[i] {
				t.Errorf("accept %d is %s; want %s of %s", i, describe(e), states[i], all[i].addr)
			}
			// By the wall clock, which the event's time is of.
			if queued.Before(all[i].before.Round(0).Add(-exactly)) || queued.After(all[i].after.Round(0).Add(exactly)) {
				t.Errorf("%s was queued at %v; want %v to %v", e.Peer, queued, all[i].before, all[i].after)
			}
		}
		tr.stop()
		text.stop()
		if last := tr.last(l.addr); last.CloseWait != 0 || last.Accepted != len(all) || last.Lost != 0 {
			t.Errorf("at the end %s; want what died before the start not counted, and %d accepted", describe(last), len(all))
		}
	})
}

// wantHeader checks the list of what was queued before the start, made between
// two moments.
func wantHeader(t *testing.T, tr trace, server string, all []*dialed, states []string, before, after time.Time) {
	t.Helper()
	i := 0
	var lead time.Duration // from the first's connect to its age's end
	for _, line := range tr.lines() {
		m := queuedLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if i == len(all) {
			t.Fatalf("more than %d are listed: %q", len(all), line)
		}
		age, err := time.ParseDuration(m[3] + m[4])
		check(t, err)
		// Three digits are printed: 10 ms of seconds, and 0.1 s from 10 s on.
		digit := 10 * time.Millisecond
		if age >= 10*time.Second {
			digit = 100 * time.Millisecond
		}
		d, state := all[i], m[5]
		if state == "" {
			state = "ESTABLISHED"
		}
		if m[1] != server || m[2] != d.addr || state != states[i] {
			t.Errorf("line %q; want %s from %s, %s", line, server, d.addr, states[i])
		}
		if least, most := before.Sub(d.after)-digit, after.Sub(d.before)+digit; age < least || age > most {
			t.Errorf("line %q; want an age of %v to %v", line, least, most)
		}
		if i == 0 {
			lead = age
		} else if least, most := d.before.Sub(all[0].after)-2*digit, d.after.Sub(all[0].before)+2*digit; lead-age < least || lead-age > most {
			t.Errorf("line %q is %v younger than the first; want %v to %v", line, lead-age, least, most)
		}
		i++
	}
	if i != len(all) {
		t.Errorf("%d are listed, want %d", i, len(all))
	}
}
