package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/netns"
)

// filterFlags are the flags that select listeners, the same on all commands.
type filterFlags struct {
	ports     []string
	addr      string
	four, six bool
	netns     string
	pids      []int
	comms     []string
	cgroup    string
}

func (f *filterFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.ports, "port", "p", nil, "only local `ports`: 8000, 80,443 or 8000-8010; repeatable")
	flags.StringVar(&f.addr, "addr", "", "only this local `address` or prefix: 127.0.0.1, 10.0.0.0/8")
	flags.BoolVarP(&f.four, "ipv4", "4", false, "only IPv4")
	flags.BoolVarP(&f.six, "ipv6", "6", false, "only IPv6 (both: any)")
	flags.StringVar(&f.netns, "netns", "", "only one network namespace: a `pid`, path or inode number")
	flags.IntSliceVar(&f.pids, "pid", nil, "only listeners held by these `processes`; repeatable")
	flags.StringArrayVar(&f.comms, "comm", nil, "only listeners held by processes of this `name`; repeatable")
	flags.StringVar(&f.cgroup, "cgroup", "", "only listeners made in this cgroup2, by its `path`, or below")
}

// recorded resolves the flags for events of a recording: processes and network
// namespaces are those of then. The error is a usageError.
func (f *filterFlags) recorded() (filter.Filter, error) {
	if f.cgroup != "" {
		return filter.Filter{}, usageErrorf("--cgroup cannot select in a recording, which has no cgroups: give it to record")
	}
	now := *f
	now.pids, now.netns = nil, ""
	result, err := now.filter()
	if err != nil {
		return result, err
	}
	if f.netns != "" {
		inode, err := strconv.ParseUint(f.netns, 10, 32)
		if err != nil || inode == 0 {
			return result, usageErrorf("bad --netns: %q is no inode number, as which a recording has network namespaces", f.netns)
		}
		result.NetNS = uint32(inode)
	}
	for _, pid := range f.pids {
		if pid <= 0 {
			return result, usageErrorf("bad --pid: there is no process %d", pid)
		}
	}
	result.PIDs = f.pids
	return result, nil
}

// narrowed is the filter of a recording with what a user asks for in its place.
func narrowed(recorded, asked filter.Filter) filter.Filter {
	if len(asked.Ports) > 0 {
		recorded.Ports = asked.Ports
	}
	if asked.Addr.IsValid() {
		recorded.Addr = asked.Addr
	}
	if asked.Family != filter.AnyFamily {
		recorded.Family = asked.Family
	}
	if asked.NetNS != 0 {
		recorded.NetNS = asked.NetNS
	}
	if asked.ByHolder() {
		recorded.PIDs, recorded.Comms = asked.PIDs, asked.Comms
	}
	return recorded
}

// filter resolves the flags. The error is a usageError.
func (f *filterFlags) filter() (filter.Filter, error) {
	var (
		result filter.Filter
		err    error
	)
	if len(f.ports) > 0 {
		if result.Ports, err = filter.ParsePorts(f.ports...); err != nil {
			return result, usageErrorf("bad --port: %w", err)
		}
	}
	if f.addr != "" {
		if result.Addr, err = filter.ParseAddr(f.addr); err != nil {
			return result, usageErrorf("bad --addr: %w", err)
		}
	}
	switch {
	case f.four && !f.six:
		result.Family = filter.IPv4
	case f.six && !f.four:
		result.Family = filter.IPv6
	}
	if f.netns != "" {
		ns, err := netns.Resolve(f.netns)
		if err != nil {
			return result, usageErrorf("bad --netns: %w", err)
		}
		result.NetNS = ns.Inode
	}
	for _, pid := range f.pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid <= 0 || err != nil {
			return result, usageErrorf("bad --pid: there is no process %d, so it holds no listener; `ss -ltnp` lists who does", pid)
		}
	}
	result.PIDs = f.pids
	for _, name := range f.comms {
		if strings.TrimSpace(name) == "" {
			return result, usageErrorf("bad --comm: the name is empty, give one as in `ps -e -o comm`")
		}
		result.Comms = append(result.Comms, filter.ParseComm(name))
	}
	if f.cgroup != "" {
		if result.Cgroup, err = filter.CgroupID(f.cgroup); err != nil {
			return result, usageErrorf("bad --cgroup: %w", err)
		}
	}
	if err := result.Check(); err != nil {
		return result, usageErrorf("bad filter: %w", err)
	}
	return result, nil
}
