package probe

import (
	"maps"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"acceptwatch/internal/owner"
)

// A server with more threads in accept() than there is room for is no error: those
// that found room are forgotten in time, and the others are counted.
func TestBlockedThreadsBeyondTheNumberKeptAreCounted(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("ACCEPTWATCH_MODES") == "" {
		t.Skip("making a map needs root")
	}
	accepting, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 3})
	check(t, err)
	defer accepting.Close()
	check(t, accepting.Put(uint32(14), uint64(7))) // noted by the kernel
	b := &blockedThreads{accepting: accepting, left: map[uint32]int{}}
	threads := []owner.Thread{{PID: 10, TID: 10, Inode: 5}, {PID: 10, TID: 11, Inode: 5}, {PID: 10, TID: 12, Inode: 5}, {PID: 10, TID: 13, Inode: 5}, {PID: 10, TID: 14, Inode: 5}}
	beyond, err := b.note(threads, map[uint32]uint64{5: 99})
	if want := map[uint32]int{10: 10, 11: 10, 14: 10}; err != nil || beyond != 2 || !maps.Equal(b.left, want) {
		t.Errorf("%v, %d beyond and %v kept; want 2 and %v", err, beyond, b.left, want)
	}
	var socket uint64
	if check(t, accepting.Lookup(uint32(11), &socket)); socket != 99 {
		t.Errorf("thread 11 waits on %d, want 99", socket)
	}
}
