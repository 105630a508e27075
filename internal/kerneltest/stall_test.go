//go:build kernel

package kerneltest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// diagnosis is a line of `acceptwatch diagnose -o json`.
type diagnosis struct {
	Type, Listener string
	Verdicts       []struct {
		Cause, Confidence, Summary string
		Evidence                   []string
	}
}

func (d *diagnosis) String() string {
	var b strings.Builder
	for _, v := range d.Verdicts {
		fmt.Fprintf(&b, "%s (%s): %s\n", v.Cause, v.Confidence, v.Summary)
		for _, line := range v.Evidence {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String()
}

func diagnosed(t *testing.T, port, mode string) diagnosis {
	t.Helper()
	p := startCommand(t, acceptwatch(t, "diagnose", "--port", port, "--for", "4s", "--mode", mode, "-o", "json"))
	p.wantExit(0)
	if keep := os.Getenv("ACCEPTWATCH_KEEP"); keep != "" {
		name := strings.ReplaceAll(t.Name(), "/", "-") + "." + mode + ".json"
		check(t, os.WriteFile(filepath.Join(keep, name), []byte(strings.Join(p.lines(), "\n")), 0o644))
	}
	var d diagnosis
	for _, line := range p.lines() {
		check(t, json.Unmarshal([]byte(line), &d))
		if d.Type == "diagnosis" {
			return d
		}
	}
	t.Fatalf("there is no diagnosis in\n%s", p.everything())
	return d
}

// TestServersThatStopAccepting runs each program and asks why, in each mode.
func TestServersThatStopAccepting(t *testing.T) {
	var table strings.Builder
	for _, program := range stallPrograms() {
		t.Run(program.name, func(t *testing.T) {
			s := program.start(t)
			for _, mode := range modes(t) {
				d := diagnosed(t, s.port, mode)
				want, got := program.want, d.Verdicts[0].Cause
				if mode != "fentry" && mode != "kprobe" && program.blind != "" {
					want = program.blind
				}
				fmt.Fprintf(&table, "%-22s %-11s want %-18s got %-18s %s\n", program.name, mode, want, got, d.Verdicts[0].Confidence)
				if got != want {
					t.Errorf("mode %s: want %s, got\n%s", mode, want, d.String())
				} else {
					t.Logf("mode %s:\n%s", mode, d.String())
				}
			}
		})
	}
	t.Logf("wanted and got\n%s", table.String())
}

// stalledServer is a program that runs, with clients that wait.
type stalledServer struct{ port string }

func (p *stallProgram) start(t *testing.T) *stalledServer {
	t.Helper()
	backend := silentBackend(t)
	address := unusedAddress(t)
	s := &stalledServer{portOf(t, address)}
	replace := strings.NewReplacer("{port}", s.port, "{stall}", stallDirectory(t))
	args := make([]string, len(p.command))
	for i, arg := range p.command {
		args[i] = replace.Replace(arg)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), append([]string{"BACKEND=" + portOf(t, backend)}, p.env...)...)
	if p.before != nil {
		p.before(t, cmd)
	}
	server := startGroup(t, cmd)
	server.awaitLine("ready")
	if p.after != nil {
		p.after(t, server)
	}
	if p.burst > 0 {
		burst(t, address, p.burst)
		return s
	}
	for range p.clients {
		stay(t, address, p)
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(1500 * time.Millisecond) // so that what is queued is old
	return s
}

// stay connects and waits until the test is over.
func stay(t *testing.T, address string, p *stallProgram) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return // the queue is full by now
	}
	if p.request != "" {
		_, _ = conn.Write([]byte(p.request)) // nobody may be there to read it
	}
	if p.hangUp {
		conn.Close()
		return
	}
	t.Cleanup(func() { conn.Close() })
}

// burst has clients come at once, again and again, until the test is over.
func burst(t *testing.T, address string, clients int) {
	t.Helper()
	var over atomic.Bool
	done := make(chan struct{})
	for range clients {
		go func() {
			for !over.Load() {
				if conn, err := net.DialTimeout("tcp", address, 2*time.Second); err == nil {
					_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
					_, _ = conn.Read(make([]byte, 8))
					conn.Close()
				}
				time.Sleep(5 * time.Millisecond)
			}
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		over.Store(true)
		for range clients {
			<-done
		}
	})
	time.Sleep(time.Second)
}

// silentBackend takes connections and never answers.
func silentBackend(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		var all []net.Conn // kept, so that they stay open
		for {
			conn, err := l.Accept()
			if err != nil {
				for _, c := range all {
					c.Close()
				}
				return
			}
			all = append(all, conn)
		}
	}()
	return l.Addr().String()
}

// TestHealthyServersHaveNothingWrong asks twenty times about servers under load.
func TestHealthyServersHaveNothingWrong(t *testing.T) {
	programs := []stallProgram{
		{name: "simple_py", command: []string{"python3", "-I", "testdata/stall/simple.py", "{port}"}, request: getLine},
		{name: "backlog_c", command: []string{"{stall}/backlog", "{port}"}, env: []string{"BACKLOG=4096"}},
	}
	for _, program := range programs {
		t.Run(program.name, func(t *testing.T) {
			s := program.start(t)
			load(t, "127.0.0.1:"+s.port, program.request)
			for range 10 {
				for _, mode := range modes(t) {
					d := diagnosed(t, s.port, mode)
					if got := d.Verdicts[0].Cause; got != "nothing_wrong" {
						t.Errorf("mode %s: a healthy server, got\n%s", mode, d.String())
					}
				}
			}
		})
	}
}

// load keeps a few clients coming, each when the one before was served.
func load(t *testing.T, address, request string) {
	t.Helper()
	var over atomic.Bool
	done := make(chan struct{})
	for range 4 {
		go func() {
			for !over.Load() {
				if conn, err := net.Dial("tcp", address); err == nil {
					_, _ = conn.Write([]byte(request))
					_, _ = conn.Read(make([]byte, 512))
					conn.Close()
				}
				time.Sleep(2 * time.Millisecond)
			}
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		over.Store(true)
		for range 4 {
			<-done
		}
	})
}

// TestTraceAndReportSayWhy: a stall in a trace gets a line that says why, and the
// recording of it the same verdict.
func TestTraceAndReportSayWhy(t *testing.T) {
	for _, mode := range modes(t) {
		if mode == "diag" {
			continue // which has no events to trace
		}
		t.Run(mode, func(t *testing.T) {
			program := stallProgram{command: []string{"python3", "-I", "testdata/stall/proxy.py", "{port}"}, clients: 5, request: getLine}
			s := program.start(t)
			file := filepath.Join(t.TempDir(), "stall.trace")
			p := startCommand(t, acceptwatch(t, "trace", "--port", s.port, "--mode", mode, "--duration", "15s", "-w", file))
			p.wantExit(0)
			const why = "waits for another server"
			if text := strings.Join(p.lines(), "\n"); !strings.Contains(text, " WHY 127.0.0.1:"+s.port+": python3[") || !strings.Contains(text, why) {
				t.Errorf("trace does not say why:\n%s", text)
			}
			r := startCommand(t, acceptwatch(t, "report", file))
			r.wantExit(0)
			if text := strings.Join(r.lines(), "\n"); !strings.Contains(text, "why nobody accepted") || !strings.Contains(text, why) {
				t.Errorf("report does not say why:\n%s", text)
			}
		})
	}
}
