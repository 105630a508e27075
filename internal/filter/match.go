package filter

import "net/netip"

// Match says whether a connection is selected by where it arrived: its network
// namespace and its own end. PIDs, Comms and Cgroup are not looked at: who
// holds a listener is not in an address.
func (f *Filter) Match(netns uint32, local netip.AddrPort) bool {
	addr := local.Addr().Unmap()
	return f.matchNetNS(netns) && f.matchPort(local.Port()) && f.matchFamily(addr) &&
		(!f.Addr.IsValid() || f.Addr.Contains(addr))
}

// MatchListener says whether connections to the listener bound to this address
// can be selected. One bound to all addresses takes part in every address of
// its family, and [::] in IPv4 too, unless it is v6only.
func (f *Filter) MatchListener(netns uint32, bound netip.AddrPort, v6only bool) bool {
	addr := bound.Addr().Unmap()
	if !addr.IsUnspecified() {
		return f.Match(netns, bound)
	}
	takes4 := addr.Is4() || !v6only
	takes6 := addr.Is6()
	wants4, wants6 := f.Family != IPv6, f.Family != IPv4
	if f.Addr.IsValid() {
		wants4 = wants4 && f.Addr.Addr().Is4()
		wants6 = wants6 && f.Addr.Addr().Is6()
	}
	return f.matchNetNS(netns) && f.matchPort(bound.Port()) && (takes4 && wants4 || takes6 && wants6)
}

func (f *Filter) matchNetNS(netns uint32) bool {
	return f.NetNS == 0 || f.NetNS == netns
}

func (f *Filter) matchPort(port uint16) bool {
	if len(f.Ports) == 0 {
		return true
	}
	for _, r := range f.Ports {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

func (f *Filter) matchFamily(addr netip.Addr) bool {
	switch f.Family {
	case IPv4:
		return addr.Is4()
	case IPv6:
		return addr.Is6()
	default:
		return true
	}
}
