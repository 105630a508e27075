//go:build kernel

package kerneltest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
)

// serverProgram is a server as its authors made it.
type serverProgram struct {
	name  string
	start func(t *testing.T) (s *server)
	// ask is what a client says, and answer how what it gets begins; without an
	// answer the server prints the client's address, which ask has.
	ask, answer string
	// accepting is the name of the threads that accept.
	accepting string
	// workers are the processes that accept, which the first one starts; 0: it
	// accepts itself.
	workers int
	// sockets listen at the address.
	sockets int
	// blocker is what a client says that keeps the server from accepting until
	// goOn, and what the server prints then; empty: it is stopped by a signal.
	blocker string
	goOn    func(s *server, blocker *caller)
}

// server is one that runs.
type server struct {
	*process
	to    string // where clients reach it
	at    string // where it listens
	shown string // the same as ss writes it
}

const get = "GET / HTTP/1.0\r\n\r\n"

func serverPrograms() []serverProgram {
	sayGo := func(s *server, _ *caller) { s.say("go on") }
	return []serverProgram{
		{
			name: "nc", start: startNetcat, accepting: "nc", sockets: 1, ask: "hello from ME\n",
			blocker: "I stay\n", goOn: func(s *server, c *caller) { check(s.t, c.Close()) },
		},
		{
			name: "socketserver", start: startPython("server_socketserver.py"), accepting: "python3", sockets: 1,
			ask: "hello\n", answer: "served", blocker: "wait\n", goOn: sayGo,
		},
		{
			name: "asyncio", start: startPython("server_asyncio.py"), accepting: "python3", sockets: 1,
			ask: "hello\n", answer: "served", blocker: "wait\n", goOn: sayGo,
		},
		{
			name: "nginx", start: startNginx(""), accepting: "nginx", workers: 2, sockets: 1,
			ask: get, answer: "HTTP/1.1 200",
		},
		{
			name: "nginx_reuseport", start: startNginx("reuseport"), accepting: "nginx", workers: 2, sockets: 2,
			ask: get, answer: "HTTP/1.1 200",
		},
		{
			name: "haproxy", start: startHAProxy, accepting: "haproxy", sockets: 1,
			ask: get, answer: "HTTP/1.1 200",
		},
		{
			name: "redis", start: startRedis, accepting: "redis-server", sockets: 1,
			ask: "PING\r\n", answer: "+PONG",
		},
		{
			name: "go_net_http", start: startPprof, accepting: "pprof", sockets: 1,
			ask: "GET /ui/top HTTP/1.0\r\n\r\n", answer: "HTTP/1.0 200",
		},
		{
			name: "jvm", start: startRegistry, accepting: "RMI TCP Accept-", sockets: 1,
			ask: "JRMI\x00\x02K", answer: "N",
		},
	}
}

func programNamed(t *testing.T, name string) *serverProgram {
	t.Helper()
	for _, p := range serverPrograms() {
		if p.name == name {
			return &p
		}
	}
	t.Fatalf("there is no server %s", name)
	return nil
}

// startServer runs a program in a process group of its own, and returns when it
// listens.
func startServer(t *testing.T, to string, program string, args ...string) *server {
	t.Helper()
	s := &server{process: startGroup(t, exec.Command(program, args...)), to: to, at: to, shown: to}
	s.awaitListening()
	return s
}

// startGroup runs a program in a process group of its own, which does not
// outlive the test.
func startGroup(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := startCommand(t, cmd)
	t.Cleanup(func() { _ = syscall.Kill(-p.pid(), syscall.SIGKILL) }) // it may have ended
	return p
}

func (s *server) awaitListening() {
	s.t.Helper()
	s.await("the listener", func() bool { return len(s.listening(ss(s.t))) > 0 })
}

func startNetcat(t *testing.T) *server {
	to := unusedAddress(t)
	host, port, err := net.SplitHostPort(to)
	check(t, err)
	return startServer(t, to, "nc", "-l", "-k", host, port)
}

func startPython(script string) func(t *testing.T) *server {
	return func(t *testing.T) *server {
		p := startGroup(t, exec.Command("python3", "-I", "testdata/"+script))
		to := strings.TrimPrefix(p.awaitLine("listening "), "listening ")
		return &server{p, to, to, to}
	}
}

// startNginx runs a master and two workers. With reuseport each has a listening
// socket of its own.
func startNginx(reuseport string) func(t *testing.T) *server {
	return func(t *testing.T) *server {
		to, dir := unusedAddress(t), t.TempDir()
		var temporary strings.Builder
		for _, of := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temporary.WriteString(of + "_temp_path " + filepath.Join(dir, of) + ";\n")
		}
		config := writeConfig(t, `
			daemon off;
			worker_processes 2;
			user root root;
			pid `+filepath.Join(dir, "pid")+`;
			error_log stderr;
			events { worker_connections 128; }
			http {
				access_log off;
				`+temporary.String()+`
				server {
					listen `+to+` backlog=64 `+reuseport+`;
					location / { return 200 "served"; }
				}
			}`)
		return startServer(t, to, "nginx", "-e", "stderr", "-p", dir, "-c", config)
	}
}

func startHAProxy(t *testing.T) *server {
	to := unusedAddress(t)
	return startServer(t, to, "haproxy", "-f", writeConfig(t, `
global
	nbthread 2
	maxconn 100
defaults
	mode http
	timeout client 5m
	timeout connect 5m
	timeout server 5m
frontend served
	bind `+to+`
	http-request return status 200 content-type text/plain string served
`))
}

// startRedis gives it a queue that is shorter than the clients are many.
func startRedis(t *testing.T) *server {
	to := unusedAddress(t)
	host, port, err := net.SplitHostPort(to)
	check(t, err)
	return startServer(t, to, "redis-server", "--bind", host, "--port", port, "--tcp-backlog", "8",
		"--save", "", "--appendonly", "no", "--dir", t.TempDir())
}

// startPprof runs the web server of Go's profiler, which is net/http's.
func startPprof(t *testing.T) *server {
	profile := filepath.Join(t.TempDir(), "heap")
	f, err := os.Create(profile)
	check(t, err)
	check(t, pprof.WriteHeapProfile(f))
	check(t, f.Close())
	to := unusedAddress(t)
	return startServer(t, to, "pprof", "-http="+to, "-no_browser", profile)
}

// startRegistry runs the JVM's registry of remote objects, which has a thread
// that accepts. It listens at the wildcard of IPv6.
func startRegistry(t *testing.T) *server {
	to := unusedAddress(t)
	port := portOf(t, to)
	s := &server{to: to, at: "[::]:" + port, shown: "*:" + port}
	s.process = startGroup(t, exec.Command("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m",
		"-m", "java.rmi/sun.rmi.registry.RegistryImpl", port))
	s.awaitListening()
	return s
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config")
	check(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}
