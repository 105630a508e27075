package cli

import (
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On this host, as whoever runs the test and, if that is root, as nobody too: a
// queue that the test filled, and what it knows of it.
func TestSnapshotOfThisHost(t *testing.T) {
	port, peers := queueHere(t)
	for _, test := range []struct {
		name   string
		args   []string
		nobody bool
	}{
		{"by the best way", nil, false},
		{"by sock_diag", []string{"--mode", "diag"}, false},
		{"as nobody", nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.nobody && os.Geteuid() != 0 {
				t.Skip("it takes root to become nobody; the others ran without privileges")
			}
			cmd := self(append([]string{"snapshot", "-p", port, "--connections", "-o", "json"}, test.args...)...)
			if test.nobody {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var listed []string
			for line := range strings.Lines(string(out)) {
				var l struct {
					Type, Listener, Peer, State, Mode string
					Depth                             *int
					Age                               *time.Duration `json:"age_ns"`
					Unread                            int            `json:"unread_bytes"`
					Unaccepted                        map[string]int
					Derived                           bool `json:"close_derived"`
				}
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				switch l.Type {
				case "listener":
					u := l.Unaccepted
					if *l.Depth != 3 || u["ESTABLISHED"] != 1 || u["CLOSE_WAIT"] != 1 || u["CLOSE"] != 1 {
						t.Errorf("%s", line)
					}
				case "connection":
					if l.Age == nil || *l.Age < 0 || *l.Age > time.Minute || l.Unread != len(hello) {
						t.Errorf("%s", line)
					}
					listed = append(listed, l.Peer+" "+l.State)
				case "summary":
					want := peers
					if l.Mode == modeDiag {
						want = peers[:2] // the third is in CLOSE
					}
					slices.Sort(listed)
					if !slices.Equal(listed, slices.Sorted(slices.Values(want))) || test.nobody && l.Mode != modeDiag {
						t.Errorf("mode %s lists %q, want %q", l.Mode, listed, want)
					}
				}
			}
			if listed == nil {
				t.Errorf("nothing is listed: %s", out)
			}
		})
	}
	err := self("snapshot", "-p", port, "--fail-on", "close_wait>0").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailOn {
		t.Errorf("%v, want exit code %d", err, exitFailOn)
	}
}

// Behind the fence, which stands after the first look, the others see the same.
func TestFencedSnapshotOfThisHost(t *testing.T) {
	port, _ := queueHere(t)
	for _, mode := range []string{"auto", modeDiag} {
		t.Run(mode, func(t *testing.T) {
			cmd := self("snapshot", "-p", port, "--connections", "-o", "json", "--mode", mode, "--watch", "100ms")
			var complaints strings.Builder
			cmd.Stderr = &complaints
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() }) // mostly it has ended
			lines := json.NewDecoder(out)
			first := lookOf(t, lines)
			for range 2 {
				if later := lookOf(t, lines); !maps.Equal(first, later) {
					t.Errorf("at first %v, later %v", first, later)
				}
			}
			if first["connection"] < 2 || first["owner"] != 1 {
				t.Errorf("saw %v", first)
			}
			_ = cmd.Process.Signal(os.Interrupt) // if it has ended, Wait says so
			if err := cmd.Wait(); err != nil || strings.Contains(complaints.String(), "privileges") {
				t.Errorf("%v: %s", err, complaints.String())
			}
		})
	}
}

// lookOf reads one look: of connections, owners and so on, how many there are.
func lookOf(t *testing.T, lines *json.Decoder) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	for {
		var l struct {
			Type, Mode string
			Owners     []struct{ PID int }
		}
		if err := lines.Decode(&l); err != nil {
			t.Fatal(err)
		}
		seen[l.Type+l.Mode]++
		seen["owner"] += len(l.Owners)
		if l.Type == "summary" {
			return seen
		}
	}
}

const hello = "hello"

// queueHere queues a connection that lives, one whose client hung up, and one
// that was reset, in this order.
func queueHere(t *testing.T) (port string, peers []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	t.Cleanup(func() { unix.Close(l) })
	must(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(l, 16))
	at, err := unix.Getsockname(l)
	must(err)
	port = strconv.Itoa(at.(*unix.SockaddrInet4).Port)
	for _, state := range []string{"ESTABLISHED", "CLOSE_WAIT", "CLOSE"} {
		c, err := net.Dial("tcp4", "127.0.0.1:"+port)
		must(err)
		_, err = c.Write([]byte(hello))
		must(err)
		peers = append(peers, c.LocalAddr().String()+" "+state)
		switch state {
		case "ESTABLISHED":
			t.Cleanup(func() { c.Close() })
			continue
		case "CLOSE":
			must(c.(*net.TCPConn).SetLinger(0))
		}
		must(c.Close())
	}
	return port, peers
}

// self is the program as a process of its own. The path is not looked up, so
// that whoever runs it need not be allowed to.
func self(args ...string) *exec.Cmd {
	return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"acceptwatch"}, args...)}
}
