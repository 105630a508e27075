//go:build growth

package probe

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/export"
	"acceptwatch/internal/growth"
	"acceptwatch/internal/listener"
)

// reading reads a ring as trace -o json does, at the pace of Tracer.Read, until
// the returned function is called. It returns how many events were read.
func reading(t *testing.T, tr *Tracer) func() uint64 {
	t.Helper()
	out := must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))(t)
	table := listener.New(listener.Options{})
	epoch := time.Now()
	var (
		stop, idle atomic.Bool
		done       = make(chan uint64)
	)
	go func() {
		var read uint64
		var line []byte
		for !idle.Load() {
			idle.Store(stop.Load()) // once more, for what came meanwhile
			if err := tr.Read(func(e *event.Event) {
				read++
				table.Apply(e, nil)
				line = export.AppendEvent(line, e, epoch.Add(time.Duration(e.Time)), e.Local)
				if len(line) > 1<<16 {
					_, _ = out.Write(line)
					line = line[:0]
				}
			}); err != nil {
				t.Error(err)
				break
			}
		}
		done <- read
	}()
	return func() uint64 {
		stop.Store(true)
		read := <-done
		out.Close()
		return read
	}
}

// TestGrowthByProcessors prints what an event costs processors that make events
// at the same time, and do nothing else: they wait for the lock of the ring.
func TestGrowthByProcessors(t *testing.T) {
	table := growth.Table{Title: "Processors", Head: []string{"processors that make events at once", "ns for an event, on each"},
		Text: "What an event in the ring buffer costs processors that do nothing but make events, of 128 bytes, and share its lock: the worst case. A real ring of this host's kernel; it has no more processors."}
	for n := 1; n <= runtime.NumCPU(); n *= 2 {
		const each = 20_000
		least := time.Duration(1<<63 - 1)
		for range 10 {
			p := newProducer(t, 64*mib)
			var all sync.WaitGroup
			began := time.Now()
			for cpu := range n {
				all.Go(func() {
					runtime.LockOSThread() // and it ends with the goroutine
					var set unix.CPUSet
					set.Set(cpu)
					check(t, unix.SchedSetaffinity(0, &set))
					p.make(t, each)
				})
			}
			all.Wait()
			least = min(least, time.Since(began)/each)
		}
		table.Rows = append(table.Rows, []string{strconv.Itoa(n), strconv.FormatInt(int64(least), 10)})
	}
	check(t, table.Print(os.Stdout))
}

const mib = 1 << 20

// TestWhereTheRingLosesEvents makes bursts and steady streams of events in rings
// of several sizes, with a reader in another thread, and prints what was lost.
func TestWhereTheRingLosesEvents(t *testing.T) {
	sizes := []int{1 * mib, 2 * mib, 4 * mib, 8 * mib, 16 * mib, 32 * mib}
	head := func(first string) []string {
		h := []string{first}
		for _, size := range sizes {
			h = append(h, fmt.Sprintf("%d MiB, %s events", size/mib, growth.Number(float64(size/recordSize))))
		}
		return h
	}
	run := func(n int, produce func(*producer)) []string {
		row := []string{growth.Number(float64(n))}
		for _, size := range sizes {
			p := newProducer(t, size)
			stop := reading(t, p.reader(t))
			time.Sleep(2 * readEvery)
			produce(p)
			read := stop()
			made, lost := p.counts(t)
			if read+lost != made {
				t.Errorf("%d events were made, %d read and %d lost", made, read, lost)
			}
			row = append(row, strconv.FormatFloat(100*float64(lost)/float64(made), 'f', 1, 64)+" %")
		}
		return row
	}
	bursts := growth.Table{Title: "Where the ring buffer loses events: bursts", Head: head("burst, events")}
	var took time.Duration
	var all int
	for _, n := range []int{5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000} {
		bursts.Rows = append(bursts.Rows, run(n, func(p *producer) {
			began := time.Now()
			p.make(t, n)
			took += time.Since(began)
			all += n
		}))
	}
	bursts.Text = fmt.Sprintf("Part of a burst that is lost, of events that one processor makes as fast as it can (%.1f million a second), by the size of the ring; the reader comes every %d ms, or at once when an eighth is full. The default is 8 MiB. A real ring of this host's kernel.",
		float64(all)/took.Seconds()/1e6, readEvery.Milliseconds())
	check(t, bursts.Print(os.Stdout))

	steady := growth.Table{Title: "Where the ring buffer loses events: steady streams", Head: head("events a second"),
		Text: "Part of the events of one second that is lost, made in bursts of 1 ms, by the size of the ring; read as above."}
	for _, rate := range []int{50_000, 200_000, 500_000, 1_000_000, 2_000_000, 4_000_000} {
		steady.Rows = append(steady.Rows, run(rate, func(p *producer) {
			began := time.Now()
			for made := 0; made < rate; {
				due := min(rate, int(time.Since(began).Seconds()*float64(rate)))
				p.make(t, due-made)
				made = due
				time.Sleep(time.Millisecond)
			}
		}))
	}
	check(t, steady.Print(os.Stdout))
}
