// Package filter says which listeners a user wants to look at. It is a plain
// value: the probe compiles it into the kernel programs' configuration, and
// everything that reads recorded events applies it with Match.
package filter

import "net/netip"

// Filter selects listeners; its zero value selects all.
type Filter struct {
	Ports  []PortRange  // local ports; empty: all
	Addr   netip.Prefix // local address; invalid: all
	Family Family
	NetNS  uint32 // inode of a network namespace; 0: all
	Cgroup uint64 // id of the listening socket's cgroup, or of one above it; 0: all
	// PIDs and Comms select the listeners held by these processes. Who holds
	// what changes, so the probe is told again and again (probe.SetHeld).
	PIDs  []int
	Comms []string
}

// PortRange is a range of ports, both ends in it.
type PortRange struct{ First, Last uint16 }

// Family selects by what carries a connection: IPv4 to a dual-stack IPv6
// listener counts as IPv4.
type Family uint8

const (
	AnyFamily Family = iota
	IPv4
	IPv6
)
