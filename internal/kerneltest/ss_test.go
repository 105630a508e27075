//go:build kernel

package kerneltest

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// socket is a row of ss.
type socket struct {
	state        string // as ss writes it: CLOSE-WAIT
	recvQ, sendQ int
	local, peer  string
	users        string // the processes that have it; empty: none
}

func ssText(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ss", "-tanp").Output()
	check(t, err)
	return string(out)
}

// ss lists the TCP sockets of this host.
func ss(t *testing.T) []socket {
	t.Helper()
	return parseSS(t, ssText(t))
}

// awaitStates waits until ss has so many connections at an address in these
// states: those that were reset in a queue it does not list.
func awaitStates(t *testing.T, local string, closeWait, established int) {
	t.Helper()
	await(t, "their deaths", func() bool {
		states := make(map[string]int)
		for _, row := range ss(t) {
			if row.local == local {
				states[row.state]++
			}
		}
		return states["CLOSE-WAIT"] == closeWait && states["ESTAB"] == established
	})
}

func parseSS(t *testing.T, text string) []socket {
	t.Helper()
	var list []socket
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] == "State" {
			continue
		}
		recvQ, err := strconv.Atoi(f[1])
		check(t, err)
		sendQ, err := strconv.Atoi(f[2])
		check(t, err)
		list = append(list, socket{f[0], recvQ, sendQ, f[3], f[4], strings.Join(f[5:], " ")})
	}
	return list
}

// listening is the LISTEN row of an address; nil: there is none.
func listening(rows []socket, local string) *socket {
	for i := range rows {
		if rows[i].state == "LISTEN" && rows[i].local == local {
			return &rows[i]
		}
	}
	return nil
}

// from is the server's end of the connection from an IP address that has one
// client only; nil: there is none.
func from(rows []socket, local, ip string) *socket {
	for i := range rows {
		if rows[i].local == local && strings.HasPrefix(rows[i].peer, ip+":") {
			return &rows[i]
		}
	}
	return nil
}

// wantAsSS checks that the line of a listener tells what ss shows: depth and
// backlog, and the connections that no process has, by state.
func wantAsSS(t *testing.T, r record, rows []socket) {
	t.Helper()
	row := listening(rows, r.Listener)
	if row == nil {
		t.Fatalf("ss shows no listener %s: %+v", r.Listener, rows)
	}
	if r.Depth == nil || r.Backlog == nil || *r.Depth != row.recvQ || *r.Backlog != row.sendQ {
		t.Errorf("traced %s; ss shows Recv-Q %d, Send-Q %d", describe(r), row.recvQ, row.sendQ)
	}
	established, closeWait := 0, 0
	for _, s := range rows {
		switch {
		case s.local != r.Listener || s.users != "":
		case s.state == "ESTAB":
			established++
		case s.state == "CLOSE-WAIT":
			closeWait++
		}
	}
	u := r.Unaccepted
	if u == nil || u.Established == nil || *u.Established != established || u.CloseWait != closeWait || u.Close != row.recvQ-established-closeWait {
		t.Errorf("traced %s; ss shows %d ESTAB and %d CLOSE-WAIT without a process, and Recv-Q %d", describe(r), established, closeWait, row.recvQ)
	}
}
