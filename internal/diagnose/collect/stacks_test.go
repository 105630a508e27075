package collect

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/stacks"
	"acceptwatch/internal/symbol"
)

func TestWhatAProfileLacksIsTold(t *testing.T) {
	if got := unseen(&stacks.Profile{}); got != nil {
		t.Errorf("nothing is missing, and told is %q", got)
	}
	got := unseen(&stacks.Profile{Lost: stacks.Lost{Samples: 2, Stacks: 3}, Unnamed: []string{"name functions of process 7:\nit has exited", "b"}})
	want := []string{
		"5 stacks found no room: the most frequent function may be another one",
		"some functions are not named: name functions of process 7:; it has exited (one of 2 reasons)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStacksOfAThread(t *testing.T) {
	frame := func(names ...string) (frames []symbol.Frame) {
		for _, n := range names {
			frames = append(frames, symbol.Frame{Function: n, Module: "/bin/server", Offset: 4})
		}
		return frames
	}
	want := func(kernel bool, name string) diagnose.Frame {
		return diagnose.Frame{Function: name, Module: "/bin/server", Offset: 4, Kernel: kernel}
	}
	on, off := stacksOf(&stacks.Thread{TID: 7, Samples: []stacks.Sample{
		{State: stacks.Sleeping, Count: 2, Duration: time.Second, User: frame("read", "serve"), Kernel: frame("tcp_recvmsg")},
		{State: stacks.Running, Count: 3, User: frame("parse")},
		{State: stacks.Running, Count: 90, User: frame("hash", "serve"), Truncated: true},
		{State: stacks.Runnable, Count: 50, Duration: time.Minute}, // has none
		{State: stacks.Disk, Count: 1, Duration: 2 * time.Second, Kernel: frame("folio_wait_bit")},
		{State: stacks.Running, Count: 1, User: frame(make([]string, mostFrames+1)...)},
	}})
	long := diagnose.Stack{Count: 1, Truncated: true}
	for range mostFrames {
		long.Frames = append(long.Frames, want(false, ""))
	}
	wantOn := []diagnose.Stack{
		{Count: 90, Frames: []diagnose.Frame{want(false, "hash"), want(false, "serve")}, Truncated: true},
		{Count: 3, Frames: []diagnose.Frame{want(false, "parse")}},
		long,
	}
	wantOff := []diagnose.Stack{
		{Count: 1, Time: 2 * time.Second, Frames: []diagnose.Frame{want(true, "folio_wait_bit")}},
		{Count: 2, Time: time.Second, Frames: []diagnose.Frame{want(true, "tcp_recvmsg"), want(false, "read"), want(false, "serve")}},
	}
	if diff := cmp.Diff([][]diagnose.Stack{wantOn, wantOff}, [][]diagnose.Stack{on, off}); diff != "" {
		t.Error(diff)
	}
}
