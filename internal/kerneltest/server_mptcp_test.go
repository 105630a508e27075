//go:build kernel

package kerneltest

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Go's programs listen for MPTCP where the kernel has it. A client that speaks
// it, too, and gives up leaves its TCP connection ESTABLISHED: only the MPTCP
// socket, which ss shows by -M, is in CLOSE_WAIT.
func TestClientsByMPTCPGiveUp(t *testing.T) {
	everyExactMode(t, func(t *testing.T, mode string) {
		p := programNamed(t, "go_net_http")
		s, tr := startTraced(t, mode, p)
		if !speaksMPTCP(t) {
			if rows := s.listening(ssMPTCP(t)); len(rows) > 0 {
				t.Errorf("the kernel does without MPTCP, but ss shows %+v", rows)
			}
			t.Log("this kernel does without MPTCP, and so does Go")
			return
		}
		if rows := s.listening(ssMPTCP(t)); len(rows) != 1 {
			t.Fatalf("ss shows %+v; want that Go listens by MPTCP", rows)
		}
		served := serveSome(t, p, s, tr)
		goOn := p.stall(t, s, tr, &served)

		c := &crowd{}
		dialer := &net.Dialer{Timeout: patience}
		dialer.SetMultipathTCP(true)
		for i := range 6 {
			one := callBy(t, dialer, s.to, p.ask)
			if is, err := one.MultipathTCP(); err != nil || !is {
				t.Fatalf("%s speaks MPTCP: %t, %v", one.addr, is, err)
			}
			c.all = append(c.all, one)
			if i%3 == 2 {
				c.patient = append(c.patient, one)
			} else {
				c.finished = append(c.finished, one)
			}
		}
		for _, one := range c.finished {
			one.giveUp(giveUpAfter, false)
		}
		await(t, "CLOSE-WAIT of those who gave up", func() bool {
			now := s.rows(ssMPTCP(t))
			return !slices.ContainsFunc(c.finished, func(one *caller) bool {
				row := now[one.addr]
				return row == nil || row.state != "CLOSE-WAIT"
			})
		})
		c.seen = time.Now()
		rows := ss(t)
		for _, one := range c.all {
			if row := s.rows(rows)[one.addr]; row == nil || row.state != "ESTAB" {
				t.Errorf("ss shows %+v by TCP; want ESTAB of %s", row, one.addr)
			}
		}
		if n := queued(s.listening(rows)); n != len(c.all) {
			t.Errorf("ss shows Recv-Q %d; want %d", n, len(c.all))
		}
		c.wantTold(t, s, tr)
		tr.awaitEvents("stall", 1)

		released := time.Now()
		goOn()
		accepted := tr.told("accepted", served+len(c.all))[served:]
		c.wantAccepted(t, accepted, released, time.Now())
		wantAcceptors(t, p, s, accepted)
		for _, patient := range c.patient {
			p.wantServed(s, patient)
		}
		tr.awaitEvents("stall_end", 1)
		tr.stop()
		c.wantOrder(t, tr, "accepted")
		c.wantBooks(t, s, tr, books{accepted: served + len(c.all)})
	})
}

func speaksMPTCP(t *testing.T) bool {
	t.Helper()
	enabled, err := os.ReadFile("/proc/sys/net/mptcp/enabled")
	return err == nil && strings.TrimSpace(string(enabled)) == "1"
}

// ssMPTCP lists the MPTCP sockets of this host.
func ssMPTCP(t *testing.T) []socket {
	t.Helper()
	out, err := exec.Command("ss", "-Manp").Output()
	check(t, err)
	return parseSS(t, string(out))
}
