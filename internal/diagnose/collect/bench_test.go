package collect

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkLook is one look at a thread that waits: its counters, its state and
// its system call.
func BenchmarkLook(b *testing.B) {
	done := make(chan struct{})
	tid := make(chan int)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	go func() {
		tid <- unix.Gettid()
		_, _ = unix.Read(pipe[0], make([]byte, 1))
		close(done)
	}()
	thread := <-tid
	time.Sleep(10 * time.Millisecond)
	c := newCollector(context.Background(), Listener{}, Options{}, "/proc", "/sys/fs/cgroup")
	p := &processLooks{pid: unix.Getpid(), threads: make(map[int]*threadLooks)}
	b.ReportAllocs()
	for b.Loop() {
		if !c.look(p, thread) {
			b.Fatal("the thread has gone")
		}
	}
	unix.Close(pipe[1])
	<-done
}
