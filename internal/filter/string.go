package filter

import (
	"fmt"
	"strconv"
	"strings"
)

func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	default:
		return "IPv4 and IPv6"
	}
}

// String says in words what is selected: "port 8000, 8100-8110; address
// 10.0.0.0/8; IPv4"; "everything" when there is no filter.
func (f *Filter) String() string {
	var parts []string
	if len(f.Ports) > 0 {
		parts = append(parts, "port "+f.PortList())
	}
	if f.Addr.IsValid() {
		address := f.Addr.String()
		if f.Addr.IsSingleIP() {
			address = f.Addr.Addr().String()
		}
		parts = append(parts, "address "+address)
	}
	if f.Family != AnyFamily {
		parts = append(parts, f.Family.String()+" only")
	}
	if f.NetNS != 0 {
		parts = append(parts, fmt.Sprintf("network namespace %d", f.NetNS))
	}
	if f.Cgroup != 0 {
		parts = append(parts, fmt.Sprintf("cgroup %d", f.Cgroup))
	}
	if holders := f.Holders(); holders != "" {
		parts = append(parts, "listeners held by "+holders)
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, "; ")
}

// PortList is the ports as ParsePorts reads them, with a space after each
// comma; empty: all ports.
func (f *Filter) PortList() string {
	list := make([]string, len(f.Ports))
	for i, r := range f.Ports {
		list[i] = r.String()
	}
	return strings.Join(list, ", ")
}

// ByHolder says that listeners are selected by who holds them, which is not the
// kernel's to tell: whoever filters looks for the holders again and again.
func (f *Filter) ByHolder() bool { return len(f.PIDs)+len(f.Comms) > 0 }

// Holders is the PIDs and Comms: "pid 12, nginx"; empty: any process.
func (f *Filter) Holders() string {
	var list []string
	for _, pid := range f.PIDs {
		list = append(list, fmt.Sprintf("pid %d", pid))
	}
	return strings.Join(append(list, f.Comms...), ", ")
}

// CommLength is how many bytes of a thread's name the kernel keeps
// (TASK_COMM_LEN less its NUL, include/linux/sched.h).
const CommLength = 15

// ParseComm cuts a name as the kernel does, so that a long one matches.
func ParseComm(name string) string {
	return name[:min(len(name), CommLength)]
}
