//go:build growth

package listener

import (
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/growth"
)

const where = "In user space, on events that are made up"

// leastCPU is the least processor time of a call in ns, of several.
func leastCPU(t *testing.T, call func()) float64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := time.Duration(1<<63 - 1)
	for range 5 {
		runtime.GC()
		before := processorTime(t)
		call()
		least = min(least, processorTime(t)-before)
	}
	return float64(least)
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const applied = 200_000 // events, of which the mean is taken

// numbered is the address of a listener.
func numbered(i int) Key {
	return Key{NetNS: netns, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 16), byte(i >> 8)}), uint16(10_000+i%256))}
}

func open(t *Table, n int) {
	for i := range n {
		t.Apply(&event.Event{Kind: event.Listener, Time: second, ListenerID: uint64(1+i) << 10, NetNS: netns, Family: 2,
			Local: numbered(i).Addr, Backlog: 1 << 17}, nil)
	}
}

func TestGrowthOfState(t *testing.T) {
	accept := growth.Series{Cost: "an accepted connection", Unit: "ns of CPU", By: "listeners that accept in turn", Where: where}
	update := growth.Series{Cost: "a sample", Unit: "ms of CPU", By: "listeners", Where: where, Linear: true}
	rows := growth.Series{Cost: "the rows, for the summary and for views", Unit: "ms of CPU", By: "listeners", Where: where, Linear: true}
	memory := growth.Series{Cost: "memory", Unit: "MiB", By: "listeners", Where: where, Linear: true}
	for _, n := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		before := heap()
		table := New(Options{})
		open(table, n)
		size := float64(n)
		sample := Sample{Time: second}
		for i := range n {
			sample.Listeners = append(sample.Listeners, Counted{ID: uint64(1+i) << 10, Key: numbered(i), Family: 2, Inode: uint32(1 + i), Backlog: 128})
		}
		add := func(s *growth.Series, cost float64) {
			s.Points = append(s.Points, growth.Point{Size: size, Cost: cost})
		}
		add(&update, leastCPU(t, func() {
			sample.Time += second
			for i := range sample.Listeners {
				sample.Listeners[i].Accepted++
			}
			table.Update(&sample, nil)
		})/1e6)
		now := sample.Time
		e := event.Event{Kind: event.Accepted, NetNS: netns, Backlog: 128, Family: 2, State: event.Established, PID: 1, TID: 1}
		add(&accept, leastCPU(t, func() {
			for i := range applied {
				now++
				e.Time, e.Queued = now, now-1000
				e.ListenerID, e.Local = uint64(1+i%n)<<10, numbered(i%n).Addr
				table.Apply(&e, nil)
				table.Resolve(&e)
			}
		})/applied)
		add(&rows, leastCPU(t, func() { table.Rows() })/1e6)
		sample.Listeners = nil
		add(&memory, heap()-before)
		runtime.KeepAlive(table)
	}
	print(t, &accept, &update, &rows, &memory)
}

func print(t *testing.T, all ...*growth.Series) {
	t.Helper()
	for _, s := range all {
		if err := s.Print(os.Stdout); err != nil {
			t.Fatal(err)
		}
	}
}

// queueEvent is an event of the i-th connection of a queue.
func queueEvent(kind event.Kind, at int64, i int, state event.State, port uint16) event.Event {
	return event.Event{
		Kind: kind, Time: at, Queued: second + int64(i)*1000, NetNS: netns, Family: 2, State: state, Backlog: 1 << 17,
		Local: numbered(0).Addr, Peer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 2, byte(i >> 16), 1}), port),
	}
}

func TestGrowthByDepth(t *testing.T) {
	for _, kind := range []struct {
		name string
		of   func(kind event.Kind, at int64, i int) event.Event
	}{
		{"connections that wait", func(kind event.Kind, at int64, i int) event.Event {
			return queueEvent(kind, at, i, event.Established, uint16(1+i))
		}},
		{"dead connections that wait", func(kind event.Kind, at int64, i int) event.Event {
			return queueEvent(kind, at, i, event.CloseWaited, uint16(1+i))
		}},
		{"connections that wait, reset and of MPTCP", func(kind event.Kind, at int64, i int) event.Event {
			return queueEvent(kind, at, i, event.Close, 0)
		}},
	} {
		walk := growth.Series{Cost: "an entry that a walk lists", Unit: "ns of CPU", By: kind.name, Where: where}
		accept := growth.Series{Cost: "an accepted connection", Unit: "ns of CPU", By: kind.name, Where: where}
		sampled := growth.Series{Cost: "a sampled accept, of restricted mode", Unit: "ns of CPU", By: kind.name, Where: where}
		for _, n := range []int{1, 10, 100, 1000, 10_000, 65_535} {
			tables := make([]*Table, max(1, 2000/n))
			for i := range tables {
				tables[i] = New(Options{Start: 1})
				open(tables[i], 1)
			}
			id := uint64(1) << 10
			list := func(at int64, from int) {
				for _, table := range tables {
					table.Apply(&event.Event{Kind: event.Listener, Time: at, ListenerID: id, NetNS: netns, Family: 2, Local: numbered(0).Addr, Depth: uint32(n), Backlog: 1 << 17}, nil)
					for i := range n {
						e := kind.of(event.Queued, at, from+i)
						e.ListenerID, e.Depth = id, uint32(n)
						table.Apply(&e, nil)
					}
				}
			}
			take := func(at int64, from int, flags event.Flags) {
				for _, table := range tables {
					for i := range n {
						e := kind.of(event.Accepted, at, from+i)
						e.ListenerID, e.Depth, e.Flags = id, uint32(n-1), flags
						table.Apply(&e, nil)
					}
				}
			}
			began := processorTime(t)
			list(2*second, 0)
			listed := processorTime(t)
			take(3*second, 0, 0)
			taken := processorTime(t)
			// Restricted mode tells of those that a walk lists no more after the walk,
			// which has listed as many others.
			list(4*second, n)
			list(5*second, 2*n)
			again := processorTime(t)
			take(5*second, n, event.Sampled)
			done := processorTime(t)
			each := float64(len(tables) * n)
			add := func(s *growth.Series, took time.Duration) {
				s.Points = append(s.Points, growth.Point{Size: float64(n), Cost: float64(took) / each})
			}
			add(&walk, listed-began)
			add(&accept, taken-listed)
			add(&sampled, done-again)
		}
		print(t, &walk, &accept, &sampled)
	}
}
