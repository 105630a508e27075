package diagnose

import (
	"time"
)

// threads that do one thing all the time.

func sees(tid int, sights ...Sight) Thread {
	return Thread{TID: tid, Comm: "app", Run: Known(time.Duration(0)), Delay: Known(time.Duration(0)), Sights: sights}
}

func in(call string, t Target) Sight { return Sight{Looks: 12, State: "S", Call: call, Target: t} }

func named(t Thread, comm string) Thread { t.Comm = comm; return t }

func computes(tid int, run, delay time.Duration) Thread {
	t := sees(tid, Sight{Looks: 12, State: "R"})
	t.Run, t.Delay = Known(run), Known(delay)
	return t
}

// seldomRuns is a thread that was met running by chance.
func seldomRuns(tid int) Thread {
	t := sees(tid, Sight{Looks: 7, State: "R"}, Sight{Looks: 5, State: "S"})
	t.Run, t.Delay = Known(10*time.Millisecond), Known(time.Duration(0))
	return t
}

var (
	onListener = Target{Kind: KindTCP, FD: 3, Listener: true}
	onEpoll    = Target{Kind: KindEpoll, FD: 4, Listener: true}
	database   = Target{Kind: KindTCP, FD: 7, Peer: "192.0.2.9:5432"}
	another    = Target{Kind: KindTCP, FD: 5, Local: "127.0.0.1:21021", Listening: true}
	aClient    = Target{Kind: KindTCP, FD: 8, Peer: "198.51.100.7:40000", Client: true}
	condition  = Target{Kind: KindFutex, Name: "futex 0x10", Op: "condition"}
	aMutex     = Target{Kind: KindFutex, Name: "futex 0x20", Op: "mutex"}
	aFile      = Target{Kind: KindFile, FD: 9, Name: "/var/lib/app/journal"}
	anyChild   = Target{Kind: KindProcess, Name: "any child process"}
)

// process of one thread, or several.
func of(pid, parent int, threads ...Thread) Process {
	return Process{PID: pid, Parent: parent, Comm: "app", Tracer: Known(0), Threads: threads, ThreadCount: len(threads),
		Descriptors: Known(20), DescriptorLimit: Known[uint64](1024)}
}

// stalled is evidence of a queue that nobody empties.
func stalledWith(processes ...Process) Evidence {
	return Evidence{
		Span: 4 * time.Second, Looks: 12, Listener: "127.0.0.1:8000", Mode: "diag", Processes: processes,
		Queue: Queue{Depth: Known[uint32](5), Backlog: Known[uint32](128), Oldest: Known(5 * time.Second), Accepting: Known(false),
			Refused: Known[uint64](0), Held: Known(0), Open: Known(1), Somaxconn: Known[uint32](4096)},
	}
}

// but changes evidence.
func but(e Evidence, change func(*Evidence)) Evidence { change(&e); return e }

func accepting(e Evidence) Evidence { e.Queue.Accepting = Known(true); return e }

func watching(p Process, w Watch) Process { p.Watches = []Watch{w}; return p }

func cases() map[string]struct {
	evidence Evidence
	cause    Cause
	sure     Confidence
} {
	type c = struct {
		evidence Evidence
		cause    Cause
		sure     Confidence
	}
	healthy := stalledWith(of(1, 0, sees(1, in("accept4", onListener))))
	healthy.Queue.Depth, healthy.Queue.Oldest, healthy.Queue.Accepting = Known[uint32](0), Maybe[time.Duration]{}, Known(true)
	level, edge := Watch{FD: 4}, Watch{FD: 4, Edge: true}
	return map[string]c{
		"healthy":                     {healthy, NothingWrong, High},
		"healthy, refusals not known": {but(healthy, func(e *Evidence) { e.Queue.Refused = Maybe[uint64]{} }), NothingWrong, Medium},
		"caught with one entry, while a thread waits for more": {but(healthy, func(e *Evidence) {
			e.Queue.Depth, e.Queue.Accepting = Known[uint32](1), Maybe[bool]{}
		}), NothingWrong, High},
		"one drop for whatever reason": {but(healthy, func(e *Evidence) { e.Queue.Refused = Known[uint64](1) }), NothingWrong, High},
		"busy and keeping up": {but(healthy, func(e *Evidence) {
			e.Queue.Depth, e.Queue.Oldest = Known[uint32](90), Known(40*time.Millisecond)
			e.Processes = []Process{of(1, 0, computes(1, 4*time.Second, 0))}
		}), NothingWrong, High},
		"the queue is not known": {Evidence{Span: time.Second}, CannotTell, Low},
		"nobody is seen":         {stalledWith(), CannotTell, Low},
		"an age is not known, and whether anybody accepts neither": {but(stalledWith(of(1, 0, sees(1, in("recvfrom", database)))), func(e *Evidence) {
			e.Queue.Oldest, e.Queue.Accepting = Maybe[time.Duration]{}, Maybe[bool]{}
		}), CannotTell, Low},

		"leak":                    {but(healthy, func(e *Evidence) { e.Queue.Held, e.Queue.Open = Known(300), Known(310) }), DescriptorLeak, High},
		"a few are closed slowly": {but(healthy, func(e *Evidence) { e.Queue.Held, e.Queue.Open = Known(20), Known(900) }), NothingWrong, High},
		"dead in the queue are no leak": {but(stalledWith(of(1, 0, sees(1, in("recvfrom", database)))), func(e *Evidence) {
			e.Queue.Held, e.Queue.Open, e.Queue.Dead = Known(17), Known(20), Known[uint32](900)
		}), Downstream, High},
		"clients of a stopped server hang up": {but(stalledWith(of(1, 0, sees(1, Sight{Looks: 12, State: "T"}))), func(e *Evidence) {
			e.Queue.Held, e.Queue.Open = Known(20), Known(20)
		}), Stopped, High},
		"a leak or its effect": {but(stalledWith(of(1, 0, sees(1, in("futex", condition)), sees(2, in("futex", condition)))), func(e *Evidence) {
			e.Queue.Held, e.Queue.Open = Known(20), Known(20)
		}), DescriptorLeak, Low},
		"a leak that made descriptors run out": {but(stalledWith(of(1, 0, sees(1, in("epoll_wait", onEpoll)))), func(e *Evidence) {
			e.Queue.Held, e.Queue.Open = Known(1000), Known(1000)
			e.Queue.Failures = []AcceptFailure{{Errno: "EMFILE", PID: 1, Comm: "app", Count: 12}}
		}), DescriptorLeak, High},
		"a leak while it accepts, late": {but(stalledWith(of(1, 0, sees(1, in("epoll_wait", onEpoll)))), func(e *Evidence) {
			e.Queue.Held, e.Queue.Open, e.Queue.Accepting = Known(1000), Known(1000), Known(true)
		}), DescriptorLeak, High},
		"EMFILE": {but(stalledWith(of(1, 0, sees(1, in("epoll_wait", onEpoll)))), func(e *Evidence) {
			e.Queue.Failures = []AcceptFailure{{Errno: "EMFILE", PID: 1, Comm: "app", Count: 12}}
		}), OutOfDescriptors, High},
		"ENFILE": {but(stalledWith(of(1, 0)), func(e *Evidence) {
			e.Queue.Failures = []AcceptFailure{{Errno: "ENFILE", PID: 1, Comm: "app", Count: 12}}
		}), OutOfDescriptors, High},
		"at the limit, without events": {stalledWith(func() Process {
			p := of(1, 0, sees(1, in("epoll_wait", onEpoll)))
			p.Descriptors = Known(1024)
			return p
		}()), OutOfDescriptors, High},
		"at the limit, but accept does not fail": {but(stalledWith(func() Process {
			p := of(1, 0, sees(1, in("recvfrom", database)))
			p.Descriptors = Known(1024)
			return p
		}()), func(e *Evidence) { e.Queue.FailuresSeen = true }), Downstream, High},

		"stopped": {stalledWith(of(1, 0, sees(1, Sight{Looks: 12, State: "T"}))), Stopped, High},
		"traced": {stalledWith(func() Process {
			p := of(1, 0, sees(1, Sight{Looks: 12, State: "t"}))
			p.Tracer, p.TracerComm = Known(99), "gdb"
			return p
		}()), Traced, High},
		"strace looks on": {stalledWith(func() Process {
			p := of(1, 0, sees(1, in("recvfrom", database)))
			p.Tracer, p.TracerComm = Known(99), "strace"
			return p
		}()), Downstream, High},
		"frozen": {but(stalledWith(of(1, 0, sees(1, in("accept4", onListener)))), func(e *Evidence) {
			e.Cgroups = []Cgroup{{Path: "/a", Frozen: Known(true)}}
		}), Frozen, High},
		"throttled": {but(stalledWith(of(1, 0, computes(1, 80*time.Millisecond, 3900*time.Millisecond))), func(e *Evidence) {
			e.Cgroups = []Cgroup{{Path: "/a", Quota: Known(0.02), Periods: Known[uint64](40), Throttled: Known[uint64](40), ThrottledNS: Known(3900 * time.Millisecond)}}
		}), Throttled, High},
		"a quota that is not used up": {but(stalledWith(of(1, 0, sees(1, in("recvfrom", database)))), func(e *Evidence) {
			e.Cgroups = []Cgroup{{Path: "/a", Quota: Known(2.0), Periods: Known[uint64](40), Throttled: Known[uint64](0)}}
		}), Downstream, High},
		"starved all the time": {stalledWith(of(1, 0, computes(1, 0, 0))), Starved, High},
		"met running once":     {stalledWith(of(1, 0, seldomRuns(1))), CannotTell, Low},
		"starved":              {stalledWith(of(1, 0, computes(1, 100*time.Millisecond, 3800*time.Millisecond))), Starved, High},
		"reclaim":              {stalledWith(of(1, 0, sees(1, Sight{Looks: 12, State: "D", Wchan: "mem_cgroup_handle_over_high"}))), Reclaim, High},
		"memory pressure": {but(stalledWith(of(1, 0, computes(1, 3*time.Second, 0))), func(e *Evidence) {
			e.Cgroups = []Cgroup{{Path: "/a", MemoryStall: Known(2 * time.Second)}}
		}), Reclaim, High},

		"lock":                {stalledWith(of(1, 0, sees(1, in("futex", aMutex)))), Lock, High},
		"lock and its holder": {stalledWith(of(1, 0, sees(2, in("futex", aMutex)), sees(3, in("write", aClient)))), Lock, Medium},
		"a known acceptor waits for another thread": {but(stalledWith(of(1, 0, sees(1, in("futex", condition)), sees(2, in("futex", condition)))), func(e *Evidence) {
			e.Queue.LastTID = Known(2)
		}), Lock, Medium},
		"all wait for another thread":   {stalledWith(of(1, 0, sees(1, in("futex", condition)), sees(2, in("futex", condition)))), CannotTell, Low},
		"fsync":                         {stalledWith(of(1, 0, sees(1, Sight{Looks: 12, State: "D", Call: "fsync", Target: aFile}))), Disk, High},
		"page of a file":                {stalledWith(of(1, 0, sees(1, Sight{Looks: 12, State: "D", Wchan: "folio_wait_bit_common"}))), Disk, High},
		"downstream":                    {stalledWith(of(1, 0, sees(1, in("recvfrom", database)))), Downstream, High},
		"downstream with a timeout":     {stalledWith(of(1, 0, sees(1, in("poll", database)))), Downstream, High},
		"DNS by UDP":                    {stalledWith(of(1, 0, sees(1, in("poll", Target{Kind: KindUDP, Peer: "127.0.0.53:53"})))), DNS, High},
		"DNS by resolved":               {stalledWith(of(1, 0, sees(1, in("recvmsg", Target{Kind: KindUnix, Peer: "/run/systemd/resolve/io.systemd.Resolve"})))), DNS, High},
		"client":                        {stalledWith(of(1, 0, sees(1, in("read", aClient)))), SlowClient, High},
		"sleep":                         {stalledWith(of(1, 0, sees(1, in("clock_nanosleep", Target{})))), Sleeping, High},
		"child":                         {stalledWith(of(1, 0, sees(1, in("wait4", Target{Kind: KindProcess, Name: "process 77"})))), Child, High},
		"computes":                      {stalledWith(of(1, 0, computes(1, 3900*time.Millisecond, 0))), CPU, High},
		"computes on a crowded machine": {stalledWith(of(1, 0, computes(1, 1100*time.Millisecond, 2800*time.Millisecond))), CPU, High},
		"computes, and waits for a disk as long": {stalledWith(func() Process {
			t := sees(1, Sight{Looks: 7, State: "R"}, Sight{Looks: 5, State: "D", Call: "fsync", Target: aFile})
			t.Run, t.Delay = Known(2400*time.Millisecond), Known(time.Millisecond)
			return of(1, 0, t)
		}()), CPU, Medium},
		"computes, and waits for a disk once": {stalledWith(func() Process {
			t := sees(1, Sight{Looks: 11, State: "R"}, Sight{Looks: 1, State: "D", Call: "fsync", Target: aFile})
			t.Run, t.Delay = Known(3600*time.Millisecond), Known(time.Millisecond)
			return of(1, 0, t)
		}()), CPU, High},

		"fsync again and again, on a crowded machine": {stalledWith(func() Process {
			t := sees(1, Sight{Looks: 8, State: "R"}, Sight{Looks: 4, State: "D", Call: "fsync", Target: aFile})
			t.Run, t.Delay = Known(250*time.Millisecond), Known(2300*time.Millisecond)
			return of(1, 0, t)
		}()), Disk, Medium},

		"fsync again and again, and the CPU time that takes": {stalledWith(func() Process {
			t := sees(1, Sight{Looks: 6, State: "R"}, Sight{Looks: 6, State: "D", Call: "fsync", Target: aFile})
			t.Run, t.Delay = Known(912*time.Millisecond), Known(1493*time.Millisecond)
			return of(1, 0, t)
		}()), Disk, High},
		"event loop computes":             {stalledWith(watching(of(1, 0, computes(1, 3900*time.Millisecond, 0)), level)), EventLoop, High},
		"event loop downstream":           {stalledWith(watching(of(1, 0, sees(1, in("recvfrom", database)), sees(2, in("futex", condition))), level)), EventLoop, High},
		"event loop in a loop of its own": {stalledWith(watching(of(1, 0, sees(1, in("epoll_wait", Target{Kind: KindEpoll, FD: 30})), sees(2, in("futex", condition))), level)), EventLoop, Medium},
		"a worker whose epoll set watches another listener is busy": {stalledWith(
			watching(of(1, 0, sees(1, in("futex", condition))), level), of(2, 0, sees(2, in("recvfrom", database)))), EventLoop, Medium},
		"of two workers one is busy and one waits for a thread": {stalledWith(
			watching(of(1, 0, sees(1, in("futex", condition))), level), watching(of(2, 0, sees(2, in("recvfrom", database))), level)), EventLoop, Medium},
		"a task of a runtime is parked": {stalledWith(watching(of(1, 0, sees(1, in("epoll_pwait", onEpoll)), sees(2, in("futex", condition))), edge)), AcceptorParked, Medium},
		"a task is parked, and its thread is known": {but(stalledWith(watching(of(1, 0, sees(1, in("epoll_pwait", onEpoll)), sees(2, in("futex", condition))), edge)), func(e *Evidence) {
			e.Queue.LastTID = Known(2)
		}), AcceptorParked, Medium},
		"event loop waits for a thread, and another one reads": {stalledWith(watching(of(1, 0, sees(1, in("futex", condition)), sees(2, in("recvfrom", database))), level)), EventLoop, Medium},
		"a task of a runtime computes, here and there": {stalledWith(watching(of(1, 0, computes(1, 1950*time.Millisecond, 200*time.Millisecond),
			sees(2, in("nanosleep", Target{})), computes(3, 1850*time.Millisecond, 300*time.Millisecond)), edge)), CPU, Medium},
		"a task of a runtime computes":             {stalledWith(watching(of(1, 0, computes(1, 3900*time.Millisecond, 0), sees(2, in("epoll_pwait", onEpoll))), edge)), CPU, Medium},
		"an event loop that accepts, too slowly":   {accepting(stalledWith(watching(of(1, 0, computes(1, 3900*time.Millisecond, 0)), level))), EventLoop, Medium},
		"a thread that accepts and has much to do": {accepting(stalledWith(of(1, 0, computes(1, 3900*time.Millisecond, 0)))), CPU, Medium},
		"workers that accept and have much to do":  {accepting(stalledWith(of(1, 0, sees(1, in("wait4", anyChild))), of(2, 1, sees(2, in("recvfrom", database))), of(3, 1, sees(3, in("recvfrom", database))))), Pool, Medium},
		"collector": {stalledWith(of(1, 0, sees(1, in("futex", condition)), named(computes(2, 2*time.Second, 0), "GC Thread#0"), named(computes(3, 2*time.Second, 0), "GC Thread#1"))), GC, High},
		"collector by its stacks": {stalledWith(func() Process {
			t := computes(1, 3900*time.Millisecond, 0)
			t.OnCPU = []Stack{{Count: 90, Frames: []Frame{{Function: "runtime.scanobject"}, {Function: "runtime.gcDrain"}}}, {Count: 10, Frames: []Frame{{Function: "main.serve"}}}}
			return of(1, 0, t)
		}()), GC, High},

		"prefork":                                                {stalledWith(of(1, 0, sees(1, in("wait4", anyChild))), of(2, 1, sees(2, in("recvfrom", database))), of(3, 1, sees(3, in("recvfrom", database)))), Pool, High},
		"one worker of a prefork is free":                        {stalledWith(of(1, 0, sees(1, in("wait4", anyChild))), of(2, 1, sees(2, in("recvfrom", database))), of(3, 1, sees(3, in("accept4", onListener)))), CannotTell, Low},
		"threads of a pool":                                      {stalledWith(of(1, 0, sees(1, in("futex", condition)), sees(2, in("clock_nanosleep", Target{})), sees(3, in("clock_nanosleep", Target{})))), Pool, Low},
		"threads of a pool that ask the same":                    {stalledWith(of(1, 0, sees(1, in("futex", condition)), sees(2, in("recvfrom", database)), sees(3, in("recvfrom", database)))), Pool, Medium},
		"two in the background sleep":                            {stalledWith(of(1, 0, sees(1, in("recvfrom", database)), sees(2, in("clock_nanosleep", Target{})), sees(3, in("clock_nanosleep", Target{})))), Downstream, Low},
		"one in the background reads, and the others are parked": {stalledWith(of(1, 0, sees(1, in("futex", condition)), sees(2, in("recvfrom", database)))), Downstream, Low},
		"processes with locks of their own":                      {stalledWith(of(1, 0, sees(1, in("wait4", anyChild))), of(2, 1, sees(2, in("futex", aMutex))), of(3, 1, sees(3, in("futex", aMutex)))), Lock, Medium},
		"accept mutex":                                           {stalledWith(of(1, 0, sees(1, in("wait4", anyChild))), of(2, 1, sees(2, in("fcntl", aFile))), of(3, 1, sees(3, in("fcntl", aFile))), of(4, 1, sees(4, in("read", aClient)))), AcceptMutex, High},

		"acceptor gone":                   {stalledWith(of(1, 0, sees(1, in("pause", Target{})), sees(2, in("read", Target{Kind: KindPipe, Name: "pipe:[7]"})))), AcceptorGone, Medium},
		"in accept() of another listener": {stalledWith(of(1, 0, sees(1, in("accept4", another)))), AcceptorGone, Medium},
		"polls another listener":          {stalledWith(of(1, 0, sees(1, in("poll", another)))), AcceptorGone, Medium},
		"selects another listener, and a thread asks a database": {stalledWith(of(1, 0, sees(1, in("select", another)),
			sees(2, in("recvfrom", database)))), Downstream, Medium},
		"acceptor gone, main joins": {stalledWith(of(1, 0, sees(1, in("futex", Target{Kind: KindFutex, Op: "join"})), sees(2, in("read", Target{Kind: KindPipe, Name: "pipe:[7]"})))), AcceptorGone, Medium},
		"not all threads were seen": {stalledWith(func() Process { p := of(1, 0, sees(1, in("pause", Target{}))); p.ThreadCount = 900; return p }()), CannotTell, Low},

		"a worker that was not looked at may be free": {but(
			stalledWith(of(1, 0, sees(1, in("wait4", anyChild))), of(2, 1, sees(2, in("recvfrom", database))), of(3, 1, sees(3, in("recvfrom", database)))),
			func(e *Evidence) { e.Unseen = 40 }), Pool, Low},
		"an event loop may be in a thread that was not looked at": {stalledWith(func() Process {
			p := watching(of(1, 0, computes(1, 3900*time.Millisecond, 0)), level)
			p.ThreadCount = 900
			return p
		}()), EventLoop, Low},
		"the thread that accepted last was not looked at": {but(stalledWith(of(1, 0, sees(1, in("recvfrom", database)))), func(e *Evidence) {
			e.Queue.LastTID = Known(77)
		}), Downstream, Low},
		"who may compute was not looked at": {but(stalledWith(of(1, 0, computes(1, 3900*time.Millisecond, 0))), func(e *Evidence) {
			e.Queue.LastTID = Known(77)
		}), CPU, Low},
		"a lock may be of a thread that does not accept": {but(stalledWith(of(1, 0, sees(2, in("futex", aMutex)), sees(3, in("write", aClient)))), func(e *Evidence) {
			e.Queue.LastTID = Known(77)
		}), Lock, Low},
		"of many threads the one that accepts was looked at": {but(stalledWith(func() Process {
			p := of(1, 0, sees(1, in("futex", condition)), sees(2, in("recvfrom", database)))
			p.ThreadCount = 900
			return p
		}()), func(e *Evidence) { e.Queue.LastTID = Known(2) }), Downstream, High},
		"processes that were not looked at may hold who is gone": {but(stalledWith(of(1, 0, sees(1, in("pause", Target{})))), func(e *Evidence) { e.Unseen = 1 }), CannotTell, Low},
		"backlog": {but(healthy, func(e *Evidence) { e.Queue.Refused, e.Queue.Backlog = Known[uint64](40), Known[uint32](5) }), BacklogTooSmall, Medium},
		"somaxconn": {but(healthy, func(e *Evidence) {
			e.Queue.Refused, e.Queue.Backlog, e.Queue.Somaxconn = Known[uint64](40), Known[uint32](128), Known[uint32](128)
			e.Queue.FailuresSeen = true
		}), Somaxconn, High},
		"refused because it is stalled": {but(stalledWith(of(1, 0, sees(1, in("recvfrom", database)))), func(e *Evidence) { e.Queue.Refused = Known[uint64](40) }), Downstream, High},
		"herd": {but(healthy, func(e *Evidence) {
			e.Queue.Refused, e.Queue.Accepted, e.Queue.Backlog, e.Queue.Somaxconn = Known[uint64](40), Known[uint64](1000), Known[uint32](4), Known[uint32](4096)
			e.Processes = []Process{of(1, 0, sees(1, in("wait4", anyChild)))}
			for pid := 2; pid < 32; pid++ {
				t := sees(pid, in("poll", onListener))
				t.Voluntary = Known[uint64](900)
				e.Processes = append(e.Processes, of(pid, 1, t))
			}
		}), ThunderingHerd, High},
	}
}
