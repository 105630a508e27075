//go:build kernel

package kerneltest

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// How a trace begins and ends, and what it leaves.

func TestTwoTracesAtOnce(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		l := listen(t, "127.0.0.1:0", 16)
		everything := traceJSON(t, mode) // sees the other one come
		one := traceJSON(t, mode, "--port", portOf(t, l.addr))
		d := dial(t, l.addr)
		check(t, d.Close())
		for _, tr := range []trace{one, everything} {
			tr.awaitEvents("close_wait", 1)
		}
		one.stop() // and go
		l.accept()
		everything.awaitEvents("accepted", 1)
		everything.stop()
		for _, tr := range []trace{one, everything} {
			if all := tr.events("close_wait"); len(all) != 1 || all[0].Peer != d.addr || all[0].Listener != l.addr {
				t.Errorf("close_wait: %s; want one of %s", describe(all), d.addr)
			}
		}
		if all := everything.events("accepted"); len(all) != 1 || all[0].Peer != d.addr {
			t.Errorf("accepted: %s; want one of %s, and none of the other tracer", describe(all), d.addr)
		}
		if s := everything.summary(); s.Accepted != 1 || s.Purged != 0 || s.Reset != 0 {
			t.Errorf("summary %s; want nothing of the other tracer", describe(s))
		}
	})
}

func TestClosedPipe(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		cmd := acceptwatch(t, "trace", "--mode", mode)
		reader, writer, err := os.Pipe()
		check(t, err)
		defer reader.Close()
		cmd.Stdout = writer
		p := startCommand(t, cmd)
		check(t, writer.Close())
		line, err := bufio.NewReader(reader).ReadString('\n') // head -1
		check(t, err)
		check(t, reader.Close())
		p.wantExit(0)
		if !strings.HasPrefix(line, "acceptwatch traces ") || len(p.stderr()) > 0 {
			t.Errorf("first line %q, stderr %q; want the header and nothing", line, p.stderr())
		}
	})
}

func TestSigterm(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		l := listen(t, "127.0.0.1:0", 16)
		tr := traceText(t, mode, "--port", portOf(t, l.addr))
		check(t, dial(t, l.addr).Close())
		tr.awaitLine("CLOSE_WAIT before accept")
		tr.signal(syscall.SIGTERM)
		tr.wantExit(0)
		if s := tr.section(l.addr); !strings.Contains(s, "1 close_wait") || len(tr.stderr()) > 0 {
			t.Errorf("summary\n%s\nstderr %q; want 1 close_wait and nothing", s, tr.stderr())
		}
	})
}

func TestNothingListensYet(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		at := unusedAddress(t)
		port := portOf(t, at)
		text := traceText(t, mode, "--port", port)
		if want := "nothing listens on port " + port + "; waiting for it"; text.count(want) != 1 {
			t.Errorf("want %q in %q", want, text.lines())
		}
		tr := trace{startCommand(t, acceptwatch(t, "trace", "--mode", mode, "-o", "json", "--port", port))}
		tr.await("the warning", func() bool { return strings.Contains(strings.Join(tr.stderr(), "\n"), "waiting for it") })
		l := listen(t, at, 16)
		d := dial(t, at)
		check(t, d.Close())
		if e := tr.awaitEvents("close_wait", 1)[0]; e.Listener != at || e.Peer != d.addr {
			t.Errorf("%s; want %s at %s", describe(e), d.addr, at)
		}
		text.awaitLine("CLOSE_WAIT before accept")
		l.accept()
		if e := tr.awaitEvents("accepted", 1)[0]; e.State != "CLOSE_WAIT" {
			t.Errorf("%s; want CLOSE_WAIT", describe(e))
		}
		tr.stop()
		text.stop()
		if s := text.section(at); !strings.Contains(s, "1 accepted") {
			t.Errorf("want 1 accepted in\n%s", s)
		}
	})
}

func TestKilledTracerLeavesNothing(t *testing.T) {
	everyMode(t, func(t *testing.T, mode string) {
		before := inKernel(t)
		tr := traceText(t, mode)
		during := inKernel(t)
		if len(added(before.programs, during.programs)) == 0 || len(added(before.maps, during.maps)) == 0 {
			t.Errorf("attached, the kernel has %+v; want more than %+v", during, before)
		}
		if code := func() int { tr.signal(syscall.SIGKILL); return tr.exit() }(); code != 128+9 {
			t.Errorf("exit code %d; want it killed", code)
		}
		// The kernel frees some of it after a grace period.
		for what, ids := range map[string]func(kernelObjects) []uint32{
			"programs": func(k kernelObjects) []uint32 { return k.programs },
			"maps":     func(k kernelObjects) []uint32 { return k.maps },
			"links":    func(k kernelObjects) []uint32 { return k.links },
		} {
			await(t, what+" to be gone", func() bool { return len(added(ids(before), ids(inKernel(t)))) == 0 })
		}
		if after := inKernel(t); after.kprobes != before.kprobes {
			t.Errorf("kprobe events %q; want %q", after.kprobes, before.kprobes)
		}
	})
}

// added are the ids that were not there before. What an earlier test left for a
// grace period may go meanwhile, and ids are not used again soon.
func added(before, after []uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(after), func(id uint32) bool { return slices.Contains(before, id) })
}

// kernelObjects are the ids of what eBPF has in the kernel.
type kernelObjects struct {
	programs, maps, links []uint32
	kprobes               string // of tracefs
}

func inKernel(t *testing.T) kernelObjects {
	t.Helper()
	var k kernelObjects
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		check(t, err)
		id = next
		k.programs = append(k.programs, uint32(id))
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		check(t, err)
		id = next
		k.maps = append(k.maps, uint32(id))
	}
	var links link.Iterator
	defer links.Close()
	for links.Next() {
		k.links = append(k.links, uint32(links.ID))
	}
	check(t, links.Err())
	if events, err := os.ReadFile("/sys/kernel/tracing/kprobe_events"); err == nil {
		k.kprobes = string(events) // a locked-down kernel does not show it
	}
	return k
}
