package diagnose

import (
	"slices"
	"strings"
)

// activity is what a thread does, as far as it matters to accepting.
type activity int

const (
	unclear  activity = iota
	waiting           // for the listener: in accept, or in a poll that watches it
	resting           // for work: another poll, a signal
	running           // on a CPU
	ready             // to run, without a CPU
	halted            // stopped or traced
	mutex             // for a lock that another thread has
	handover          // in a futex that is no plain lock: a condition, a semaphore, a parked thread
	fileLock          // for a lock of a file, or of System V
	disk
	downstream
	names // DNS
	client
	asleep
	child
	pipe
	memory
)

// words say what a thread does, of those that block.
func (a activity) words() string {
	switch a {
	case waiting:
		return "waits for the listener"
	case running:
		return "runs"
	case ready:
		return "is ready to run and gets no CPU"
	case mutex, handover:
		return "waits for another thread"
	case fileLock:
		return "waits for a lock"
	case disk:
		return "waits for a file"
	case downstream:
		return "waits for another server"
	case names:
		return "waits for DNS"
	case client:
		return "waits for a client"
	case asleep:
		return "sleeps"
	case child:
		return "waits for a child process"
	case pipe:
		return "waits for a pipe"
	case memory:
		return "waits for memory"
	}
	return "waits"
}

// classify says what a sight shows.
func classify(s *Sight) activity {
	switch s.State {
	case "T", "t":
		return halted
	case "R":
		return running
	}
	if inMemory(s) {
		return memory
	}
	t := &s.Target
	switch s.Call {
	case "accept", "accept4":
		if t.Listener {
			return waiting
		}
		return resting
	case "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6":
		switch {
		case t.Listener:
			return waiting
		case t.Kind == KindTCP, t.Kind == KindUDP, t.Kind == KindUnix:
			return socketActivity(t)
		}
		return resting
	case "futex":
		switch t.Op {
		case "mutex":
			return mutex
		case "join":
			return resting
		}
		return handover
	case "flock", "fcntl", "semop", "semtimedop":
		return fileLock
	case "nanosleep", "clock_nanosleep":
		return asleep
	case "wait4", "waitid":
		return child
	case "pause", "rt_sigtimedwait", "rt_sigsuspend", "io_getevents", "io_uring_enter", "epoll_ctl":
		return resting
	case "open", "openat", "stat", "newfstatat", "unlink", "unlinkat", "rename", "renameat2", "getdents64",
		"fsync", "fdatasync", "sync_file_range", "msync", "sync", "ftruncate", "fallocate":
		return disk
	}
	switch t.Kind {
	case KindFile:
		return disk
	case KindTCP, KindUDP, KindUnix:
		return socketActivity(t)
	case KindPipe:
		return pipe
	}
	if s.State == "D" && s.Call == "" {
		return disk // a page fault
	}
	return unclear
}

func socketActivity(t *Target) activity {
	switch {
	case t.Listening:
		return resting
	case isDNS(t):
		return names
	case t.Client:
		return client
	case t.Kind == KindUDP && t.Peer == "":
		return resting
	}
	return downstream
}

// isDNS says that a socket leads to a name server: by port, or by the path of
// nss-resolve or nscd.
func isDNS(t *Target) bool {
	if t.Kind == KindUnix {
		return strings.Contains(t.Peer, "io.systemd.Resolve") || strings.Contains(t.Peer, "/nscd/")
	}
	return strings.HasSuffix(t.Peer, ":53") || strings.HasSuffix(t.Peer, ":853")
}

// memoryFunctions are those that a task sleeps in when the kernel makes it
// reclaim memory or bring it back (mm/memcontrol.c, mm/vmscan.c, mm/memory.c).
var memoryFunctions = []string{
	"mem_cgroup_handle_over_high", "reclaim_throttle", "throttle_direct_reclaim", "try_charge_memcg",
	"mem_cgroup_oom_synchronize", "congestion_wait", "do_swap_page", "swap_readpage", "swap_read_folio",
	"try_to_free_mem_cgroup_pages", "__alloc_pages_slowpath",
}

func inMemory(s *Sight) bool {
	isOne := func(fn string) bool {
		return slices.ContainsFunc(memoryFunctions, func(m string) bool { return strings.HasPrefix(fn, m) })
	}
	return isOne(s.Wchan) || slices.ContainsFunc(s.Kernel, isOne)
}

// ofRuntime says that a thread belongs to a language's runtime and runs nothing
// of the program (src/hotspot/share/runtime, deps/v8, uv).
func ofRuntime(comm string) bool {
	return slices.ContainsFunc([]string{
		"GC Thread", "G1 ", "VM Thread", "VM Periodic", "C1 Compiler", "C2 Compiler", "Reference Handl", "Finalizer",
		"Signal Dispatch", "Service Thread", "Monitor Deflati", "Notification", "Common-Cleaner", "Sweeper", "Concurrent",
		"Attach Listener", "Parallel", "Shenandoah", "ZWorker", "ZDriver", "ZDirector", "V8Worker", "DelayedTaskSche",
		"SignalInspector", "libuv-worker",
	}, func(prefix string) bool { return strings.HasPrefix(comm, prefix) })
}

// collects says that a thread's work is to collect garbage.
func collects(comm string) bool {
	return slices.ContainsFunc([]string{
		"GC Thread", "G1 ", "VM Thread", "Concurrent", "Parallel", "Shenandoah", "ZWorker", "ZDriver",
	}, func(prefix string) bool { return strings.HasPrefix(comm, prefix) })
}
