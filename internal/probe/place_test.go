package probe

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
)

// Where a connection comes in: families, namespaces, filters.

func TestIPv6(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "[::1]:0", 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		dead, alive := oneOfEach(t, tr, s, s.addr)
		checkBoth(t, tr, s.addr, dead, alive, unix.AF_INET6)
	}, Fentry, Kprobe, Restricted)
}

func TestMappedIPv4(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "[::]:0", 8)
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.addr.Port())
		tr := open(t, Options{Mode: m, Filter: filter.Filter{
			Ports:  []filter.PortRange{{First: s.addr.Port(), Last: s.addr.Port()}},
			Family: filter.IPv4,
		}})
		dead, alive := oneOfEach(t, tr, s, to)
		checkBoth(t, tr, to, dead, alive, unix.AF_INET6)
	}, Fentry, Kprobe, Restricted)
}

// oneOfEach makes a connection that hangs up before accept and one that does
// not, has both accepted, and returns their clients' addresses.
func oneOfEach(t *testing.T, tr *Tracer, s *server, to netip.AddrPort) (dead, alive netip.AddrPort) {
	t.Helper()
	c := connect(t, to)
	d := connect(t, to)
	readAll(t, tr, 3*sampleEvery)
	c.close()
	time.Sleep(10 * time.Millisecond)
	s.accept()
	s.accept()
	return c.local, d.local
}

func checkBoth(t *testing.T, tr *Tracer, local, dead, alive netip.AddrPort, family uint8) {
	t.Helper()
	events := readUntil(t, tr, has(2, local, event.Accepted))
	got := only(events, local, event.CloseWait, event.Accepted)
	if len(got) != 3 || got[0].Kind != event.CloseWait || got[0].Peer != dead || got[0].Family != family {
		t.Fatalf("want one close_wait of %s and two accepted:\n%s", dead, describe(events))
	}
	states := map[netip.AddrPort]event.State{got[1].Peer: got[1].State, got[2].Peer: got[2].State}
	if states[dead] != event.CloseWaited || states[alive] != event.Established {
		t.Errorf("want %s accepted dead and %s alive:\n%s", dead, alive, describe(events))
	}
}

func TestListenerInAnotherNamespace(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		inOtherNamespace(t, func() {
			var st unix.Stat_t
			check(t, unix.Stat("/proc/thread-self/ns/net", &st))
			s := listen(t, "127.0.0.1:0", 8)
			queued := connect(t, s.addr)
			stayInNamespace(t)
			tr := open(t, Options{Mode: m, Filter: filter.Filter{NetNS: uint32(st.Ino)}})
			events := readUntil(t, tr, has(1, s.addr, event.Queued))
			if e := only(events, s.addr, event.Queued)[0]; e.Peer != queued.local || e.NetNS != uint32(st.Ino) {
				t.Errorf("queued before attach: %s", describe(events))
			}
			c := connect(t, s.addr)
			c.close()
			events = readUntil(t, tr, has(1, s.addr, event.CloseWait))
			if e := only(events, s.addr, event.CloseWait)[0]; e.NetNS != uint32(st.Ino) || e.Peer != c.local {
				t.Errorf("got %s", describe(events))
			}
			if m == Restricted {
				return
			}
			s.accept()
			events = readUntil(t, tr, has(1, s.addr, event.Accepted))
			if e := only(events, s.addr, event.Accepted)[0]; e.NetNS != uint32(st.Ino) {
				t.Errorf("got %s", describe(events))
			}
		})
	}, Fentry, Kprobe, Restricted)
}

// stayInNamespace keeps a process in the namespace of this thread, by which a
// walk finds it: the main thread of this one is elsewhere. The process ends with
// the test, or when the function that is returned is called.
func stayInNamespace(t *testing.T) (leave func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSleeper$")
	cmd.Env = append(os.Environ(), "ACCEPTWATCH_TEST_SLEEPER=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	leave = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(leave)
	return leave
}

// TestSleeper is the body of a process that other tests start.
func TestSleeper(t *testing.T) {
	if os.Getenv("ACCEPTWATCH_TEST_SLEEPER") != "" {
		time.Sleep(time.Minute)
	}
}

func TestFiltersApplyInTheKernel(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		wanted, other := listen(t, "127.0.0.8:0", 8), listen(t, "127.0.0.2:0", 8)
		six := listen(t, "[::1]:0", 8)
		cases := map[string]filter.Filter{
			"port":    onPort(wanted.addr.Port()),
			"address": {Addr: netip.PrefixFrom(wanted.addr.Addr(), 32)},
			"prefix":  {Addr: netip.MustParsePrefix("127.0.0.8/30")},
		}
		for name, f := range cases {
			t.Run(name, func(t *testing.T) {
				tr := open(t, Options{Mode: m, Filter: f})
				for _, s := range []*server{other, six, wanted} {
					connect(t, s.addr).close()
					time.Sleep(5 * time.Millisecond)
					defer s.accept()
				}
				events := readUntil(t, tr, has(1, wanted.addr, event.CloseWait))
				for _, e := range events {
					if e.Local != wanted.addr && !e.Local.Addr().IsUnspecified() {
						t.Errorf("passed the filter: %s", describe([]event.Event{e}))
					}
				}
				s, err := tr.Sample(false)
				check(t, err)
				for _, l := range s.Listeners {
					if l.Key.Addr != wanted.addr && !l.Key.Addr.Addr().IsUnspecified() {
						t.Errorf("counted in spite of the filter: %+v", l)
					}
				}
			})
		}
		t.Run("family", func(t *testing.T) {
			tr := open(t, Options{Mode: m, Filter: filter.Filter{Family: filter.IPv6}})
			connect(t, wanted.addr).close()
			connect(t, six.addr).close()
			events := readUntil(t, tr, has(1, six.addr, event.CloseWait))
			for _, e := range events {
				if e.Local.Addr().Unmap().Is4() && !e.Local.Addr().IsUnspecified() {
					t.Errorf("passed the filter: %s", describe([]event.Event{e}))
				}
			}
		})
	}, Fentry, Kprobe, Restricted)
}

func TestHeldListenersOnly(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		wanted, other := listen(t, "127.0.0.1:0", 8), listen(t, "127.0.0.1:0", 8)
		tr := open(t, Options{Mode: m, Filter: filter.Filter{PIDs: []int{os.Getpid()}}})
		check(t, tr.SetHeld([]Held{wanted.held()}))
		for _, s := range []*server{other, wanted} {
			connect(t, s.addr).close()
		}
		events := readUntil(t, tr, has(1, wanted.addr, event.CloseWait))
		if len(only(events, other.addr, event.CloseWait, event.Listener)) > 0 {
			t.Errorf("passed the filter: %s", describe(events))
		}
		// Dropping it ends the view of it.
		check(t, tr.SetHeld(nil))
		connect(t, wanted.addr).close()
		if events := readAll(t, tr, 3*sampleEvery); len(only(events, wanted.addr, event.CloseWait)) > 0 {
			t.Errorf("seen although nobody is held: %s", describe(events))
		}
	}, Fentry, Kprobe, Restricted)
}

func (s *server) held() Held {
	s.t.Helper()
	var socket, ns unix.Stat_t
	check(s.t, unix.Fstat(s.fd, &socket))
	check(s.t, unix.Stat("/proc/self/ns/net", &ns))
	return Held{Inode: uint32(socket.Ino), NetNS: uint32(ns.Ino), Port: s.addr.Port()}
}

func TestCgroupFilter(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		root := "/sys/fs/cgroup"
		var fs unix.Statfs_t
		if err := unix.Statfs(root, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			if os.Getenv("ACCEPTWATCH_MODES") != "" {
				t.Fatalf("no cgroup2 at %s", root)
			}
			t.Skip("this host has no cgroup2 hierarchy at /sys/fs/cgroup")
		}
		dir := filepath.Join(root, "acceptwatch-test-"+strings.ReplaceAll(t.Name(), "/", "-"))
		inner := filepath.Join(dir, "inner")
		check(t, os.MkdirAll(inner, 0o755))
		self := must(os.ReadFile("/proc/self/cgroup"))(t)
		home := ""
		for line := range strings.Lines(string(self)) {
			if path, ok := strings.CutPrefix(line, "0::"); ok {
				home = filepath.Join(root, strings.TrimSpace(path))
			}
		}
		move := func(to string) { check(t, os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte("0"), 0)) }
		move(inner)
		inside := listen(t, "127.0.0.1:0", 8)
		move(home)
		t.Cleanup(func() { os.Remove(inner); os.Remove(dir) })
		outside := listen(t, "127.0.0.1:0", 8)
		id := must(filter.CgroupID(dir))(t)
		tr := open(t, Options{Mode: m, Filter: filter.Filter{Cgroup: id}})
		connect(t, outside.addr).close()
		connect(t, inside.addr).close()
		events := readUntil(t, tr, has(1, inside.addr, event.CloseWait))
		if len(only(events, outside.addr, event.CloseWait, event.Listener)) > 0 {
			t.Errorf("passed the filter: %s", describe(events))
		}
	}, Fentry, Kprobe, Restricted)
}

// Connections by SYN cookies name no listener in their queue entry.
func TestSynCookiesAreWalked(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		inOtherNamespace(t, func() {
			check(t, os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte("2"), 0))
			s := listen(t, "127.0.0.1:0", 16)
			stayInNamespace(t)
			const all = 6
			peers := map[netip.AddrPort]bool{}
			for range all {
				peers[connect(t, s.addr).local] = true
			}
			tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
			events := readUntil(t, tr, has(all, s.addr, event.Queued))
			for _, e := range only(events, s.addr, event.Queued)[:all] {
				if !peers[e.Peer] {
					t.Errorf("listed, but nobody made it: %s", describe([]event.Event{e}))
				}
			}
		})
	}, Fentry, Kprobe, Restricted)
}
