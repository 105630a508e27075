package probe

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"acceptwatch/internal/event"
	"acceptwatch/internal/filter"
)

func TestCanaryProvesTheHooks(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m, Filter: onPort(1)}) // no filter may hide it
		c := tr.Canary()
		if silent := c.Silent(); len(silent) > 0 || len(c.Hooks) == 0 {
			t.Errorf("silent hooks %+v of %+v", silent, c.Hooks)
		}
		for _, l := range tr.Limits() {
			if strings.Contains(l, "SILENT") {
				t.Error(l)
			}
		}
		s, err := tr.Sample(true)
		check(t, err)
		if len(s.Listeners)+len(s.Addresses) > 0 {
			t.Errorf("the canary is in the sample: %+v %+v", s.Listeners, s.Addresses)
		}
	}, Fentry, Kprobe, Restricted)
}

// neverCalled is the fault of the hooks that it is true for.
func neverCalled(which func(*hook) bool) func(*hook) error {
	return func(h *hook) error {
		if which(h) {
			return errNeverCalled
		}
		return nil
	}
}

// Where the compiler inlined inet_csk_reqsk_queue_add, a probe on it attaches
// and is never called: exactly the hook that looks right and measures nothing.
func TestSilentHookIsSaid(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m, fault: neverCalled(func(h *hook) bool {
			return h.role == RoleEnqueue && h.symbol != queueAdd
		})})
		c := tr.Canary()
		inlined := !slices.ContainsFunc(c.Hooks, func(h CanaryHook) bool { return h.Name == queueAdd && h.Fired > 0 })
		silent := slices.ContainsFunc(c.Silent(), func(h CanaryHook) bool { return h.Name == queueAdd })
		said := slices.ContainsFunc(tr.Limits(), func(l string) bool {
			return strings.Contains(l, "SILENT HOOK") && strings.Contains(l, queueAdd)
		})
		if silent != inlined || said != inlined {
			t.Errorf("inlined %t, silent %t, said %t: %+v %q", inlined, silent, said, c, tr.Limits())
		}
		t.Logf("%s is called for a plain handshake: %t", queueAdd, !inlined)
	}, Fentry, Kprobe)
}

func TestTwoTracersAtOnce(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 8)
		a := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		b := open(t, Options{Mode: m, Filter: filter.Filter{}})
		c := connect(t, s.addr)
		c.close()
		for _, tr := range []*Tracer{a, b} {
			events := readUntil(t, tr, func(events []event.Event) bool { return len(only(events, s.addr, event.CloseWait)) > 0 })
			if got := only(events, s.addr, event.CloseWait); len(got) != 1 || got[0].Peer != c.local {
				t.Errorf("got %s", describe(events))
			}
			for _, e := range events {
				if isCanary(e.Local.Addr()) {
					t.Errorf("the other's canary is seen: %s", describe([]event.Event{e}))
				}
			}
		}
	}, Fentry, Kprobe, Restricted)
}

func TestNothingStaysInTheKernel(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		before := kernelObjects(t)
		for range 5 {
			tr, err := Open(Options{Mode: m})
			check(t, err)
			check(t, tr.Walk())
			check(t, tr.Close())
		}
		// The kernel frees programs and maps after a grace period; the memory of
		// global variables stays mapped until it is collected. Other packages'
		// tests may have some of their own attached for a while.
		var after map[string]int
		for range 900 {
			runtime.GC()
			if after = kernelObjects(t); after["programs"] <= before["programs"] && after["maps"] <= before["maps"] && after["links"] <= before["links"] {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("before %v, after %v", before, after)
	}, Fentry, Kprobe, Restricted)
}

// kernelObjects counts the programs, maps and links of the whole host that
// this process may see.
func kernelObjects(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		counts["programs"]++
	}
	for id, err := ebpf.MapGetNextID(0); err == nil; id, err = ebpf.MapGetNextID(id) {
		counts["maps"]++
	}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		counts["links"]++
	}
	return counts
}
