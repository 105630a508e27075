package diagnose

import "time"

// Evidence is what was found out about one listening socket and the processes
// that hold it, over a span of time. It is a plain value: whoever has it, as
// JSON from a trace of last week, gets the same verdict.
type Evidence struct {
	Time     int64         `json:"time_ns"` // CLOCK_MONOTONIC, at the end of the span
	Span     time.Duration `json:"span_ns"` // from the first look to the last one
	Looks    int           `json:"looks"`   // at the threads
	Listener string        `json:"listener"`
	NetNS    uint32        `json:"netns,omitempty"`
	Inode    uint32        `json:"inode,omitempty"`
	Mode     string        `json:"mode"`
	// Blind says what could not be seen, and what that leaves open, a sentence
	// each.
	Blind []string `json:"blind,omitempty"`

	Queue     Queue     `json:"queue"`
	Processes []Process `json:"processes,omitempty"` // that hold the socket
	// Unseen are further ones that hold it, which were too many to look at.
	Unseen  int      `json:"processes_unseen,omitempty"`
	Cgroups []Cgroup `json:"cgroups,omitempty"` // that these are in
	System  System   `json:"system"`
}

// Queue is the accept queue of the socket. Counts are in connections and of the
// span, unless they say otherwise.
type Queue struct {
	Depth   Maybe[uint32]        `json:"depth,omitzero"` // at the end
	Backlog Maybe[uint32]        `json:"backlog,omitzero"`
	Oldest  Maybe[time.Duration] `json:"oldest_ns,omitzero"` // age of the entry at the head
	Dead    Maybe[uint32]        `json:"dead,omitzero"`      // in the queue, and the client gave up

	// Accepting says whether anything left the queue by accept. It can be known
	// where Accepted is not.
	Accepting  Maybe[bool]          `json:"accepting,omitzero"`
	Accepted   Maybe[uint64]        `json:"accepted,omitzero"`
	SinceLast  Maybe[time.Duration] `json:"since_last_accept_ns,omitzero"`
	LastPID    Maybe[int]           `json:"last_pid,omitzero"` // that accepted last
	LastTID    Maybe[int]           `json:"last_tid,omitzero"`
	LongestNow Maybe[time.Duration] `json:"longest_wait_ns,omitzero"` // of those accepted

	Refused  Maybe[uint64]   `json:"refused,omitzero"` // because the queue was full
	Failures []AcceptFailure `json:"failures,omitempty"`
	// FailuresSeen says that failing calls of accept() would be in Failures.
	FailuresSeen bool `json:"failures_seen,omitempty"`

	// Somaxconn is net.core.somaxconn of the socket's network namespace, which
	// cuts what listen() asks for.
	Somaxconn Maybe[uint32] `json:"somaxconn,omitzero"`
	// Held are accepted connections in CLOSE_WAIT that a process has open.
	Held Maybe[int] `json:"held_close_wait,omitzero"`
	// Open are all accepted connections that a process has open.
	Open Maybe[int] `json:"open,omitzero"`
}

// AcceptFailure counts calls of accept() that failed in the span; or before it, if
// none failed in it and none succeeded since.
type AcceptFailure struct {
	Errno string `json:"errno"` // "EMFILE"
	PID   int    `json:"pid,omitempty"`
	Comm  string `json:"comm,omitempty"`
	Count uint64 `json:"count"`
}

// Process holds the listening socket.
type Process struct {
	PID       int    `json:"pid"`
	Parent    int    `json:"ppid,omitempty"`
	Comm      string `json:"comm"`
	Exe       string `json:"exe,omitempty"`
	Command   string `json:"command,omitempty"`
	Unit      string `json:"unit,omitempty"`
	Container string `json:"container,omitempty"`
	Runtime   string `json:"runtime,omitempty"` // of containers
	Pod       string `json:"pod,omitempty"`     // uid of the Kubernetes pod
	Cgroup    string `json:"cgroup,omitempty"`  // path in Evidence.Cgroups

	Descriptors     Maybe[int]           `json:"descriptors,omitzero"`
	DescriptorLimit Maybe[uint64]        `json:"descriptor_limit,omitzero"`
	Tracer          Maybe[int]           `json:"tracer,omitzero"` // pid; 0: nobody
	TracerComm      string               `json:"tracer_comm,omitempty"`
	MajorFaults     Maybe[uint64]        `json:"major_faults,omitzero"` // in the span
	Swapped         Maybe[uint64]        `json:"swapped_bytes,omitzero"`
	CPU             Maybe[time.Duration] `json:"cpu_ns,omitzero"` // in the span
	// Watches are its epoll sets that watch the listener.
	Watches []Watch `json:"watches,omitempty"`

	Threads     []Thread `json:"threads,omitempty"`
	ThreadCount int      `json:"thread_count"` // Threads may be fewer: only so many are looked at
}

// Watch is an epoll set that watches the listener.
type Watch struct {
	FD        int  `json:"fd"`
	Edge      bool `json:"edge,omitempty"`      // EPOLLET: tells of each connection once only
	Exclusive bool `json:"exclusive,omitempty"` // EPOLLEXCLUSIVE: wakes one of those that wait
}

// Thread is what a thread did in the span.
type Thread struct {
	TID  int    `json:"tid"`
	Comm string `json:"comm"`

	Run         Maybe[time.Duration] `json:"run_ns,omitzero"`   // on a CPU
	Delay       Maybe[time.Duration] `json:"delay_ns,omitzero"` // ready to run, without a CPU
	Voluntary   Maybe[uint64]        `json:"voluntary,omitzero"`
	Involuntary Maybe[uint64]        `json:"involuntary,omitzero"`
	Faults      Maybe[uint64]        `json:"major_faults,omitzero"`
	BlockIO     Maybe[time.Duration] `json:"block_io_ns,omitzero"` // waited for a disk; needs delay accounting

	Sights []Sight `json:"sights,omitempty"` // the most frequent first

	// Stacks are of a sampler, if one ran.
	OnCPU  []Stack `json:"on_cpu,omitempty"`
	OffCPU []Stack `json:"off_cpu,omitempty"`
}

// Sight is what a thread was seen doing at some of the looks.
type Sight struct {
	Looks  int      `json:"looks"`
	State  string   `json:"state"`          // one letter of /proc/PID/stat
	Call   string   `json:"call,omitempty"` // system call, by its name; empty: in none, or not known
	Wchan  string   `json:"wchan,omitempty"`
	Target Target   `json:"target,omitzero"` // what the call is about
	Kernel []string `json:"kernel,omitempty"`
}

// Kinds of what a descriptor is.
const (
	KindTCP     = "tcp"
	KindUDP     = "udp"
	KindUnix    = "unix"
	KindFile    = "file"
	KindPipe    = "pipe"
	KindEpoll   = "epoll"
	KindFutex   = "futex"
	KindOther   = "other"
	KindProcess = "process"
)

// SharedFutex begins the name of a futex that processes may share.
const SharedFutex = "shared "

// Target is what a system call waits for.
type Target struct {
	Kind string `json:"kind,omitempty"`
	FD   int    `json:"fd,omitempty"`
	Name string `json:"name,omitempty"` // path, futex address, what the kernel calls it
	Peer string `json:"peer,omitempty"` // addr:port, or the path of a unix socket
	// Local is the own address of a socket.
	Local string `json:"local,omitempty"`
	// Listener says that it is the listener, or an epoll set or a list of
	// descriptors that watches it.
	Listener bool `json:"listener,omitempty"`
	// Listening says that it is another listener, at Local.
	Listening bool `json:"listening,omitempty"`
	// Client says that it is a connection that was accepted from the listener.
	Client bool   `json:"client,omitempty"`
	Op     string `json:"op,omitempty"` // of a futex: "mutex", "join" (until a thread ends) or "condition"
}

// Stack is a call stack, the innermost function first.
type Stack struct {
	Count     uint64        `json:"count"`             // samples on the CPU, or blocks off it
	Time      time.Duration `json:"time_ns,omitempty"` // off the CPU
	Frames    []Frame       `json:"frames"`
	Truncated bool          `json:"truncated,omitempty"` // the outer frames are missing
}

// Frame is a function of a stack.
type Frame struct {
	Function string `json:"function,omitempty"` // empty: not known
	Module   string `json:"module,omitempty"`   // path of the file
	Offset   uint64 `json:"offset"`             // in the file
	Kernel   bool   `json:"kernel,omitempty"`
}

// Cgroup is what a control group did to its processes in the span.
type Cgroup struct {
	Path        string               `json:"path"`
	Frozen      Maybe[bool]          `json:"frozen,omitzero"`
	Quota       Maybe[float64]       `json:"quota_cpus,omitzero"` // 0: none
	Periods     Maybe[uint64]        `json:"periods,omitzero"`
	Throttled   Maybe[uint64]        `json:"throttled_periods,omitzero"`
	ThrottledNS Maybe[time.Duration] `json:"throttled_ns,omitzero"`
	Memory      Maybe[uint64]        `json:"memory_bytes,omitzero"`
	MemoryHigh  Maybe[uint64]        `json:"memory_high_bytes,omitzero"` // where reclaim begins
	MemoryMax   Maybe[uint64]        `json:"memory_max_bytes,omitzero"`
	HighEvents  Maybe[uint64]        `json:"memory_high_events,omitzero"`
	MaxEvents   Maybe[uint64]        `json:"memory_max_events,omitzero"`
	MemoryStall Maybe[time.Duration] `json:"memory_full_stall_ns,omitzero"` // all its tasks waited for memory
}

// System is the state of the machine.
type System struct {
	CPUs        int                  `json:"cpus,omitempty"`
	Files       Maybe[uint64]        `json:"files,omitzero"` // open, of all processes
	FileLimit   Maybe[uint64]        `json:"file_limit,omitzero"`
	MemoryStall Maybe[time.Duration] `json:"memory_full_stall_ns,omitzero"`
	IOStall     Maybe[time.Duration] `json:"io_full_stall_ns,omitzero"`
	CPUStall    Maybe[time.Duration] `json:"cpu_some_stall_ns,omitzero"`
}
