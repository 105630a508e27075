package filter

import (
	"errors"
	"net/netip"
	"os"
	"testing"
)

func TestMatch(t *testing.T) {
	const host = 4026531840
	tests := []struct {
		name   string
		filter Filter
		netns  uint32
		local  string
		want   bool
	}{
		{"no filter", Filter{}, host, "10.0.0.1:80", true},
		{"port", Filter{Ports: []PortRange{{80, 80}}}, host, "10.0.0.1:80", true},
		{"last of a range", Filter{Ports: []PortRange{{1, 2}, {80, 90}}}, host, "10.0.0.1:90", true},
		{"other port", Filter{Ports: []PortRange{{80, 90}}}, host, "10.0.0.1:91", false},
		{"in prefix", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, host, "10.9.9.9:80", true},
		{"out of prefix", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, host, "11.0.0.1:80", false},
		{"mapped IPv4 in prefix", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, host, "[::ffff:10.0.0.1]:80", true},
		{"IPv4", Filter{Family: IPv4}, host, "[::ffff:10.0.0.1]:80", true},
		{"IPv6 is not IPv4", Filter{Family: IPv4}, host, "[::1]:80", false},
		{"IPv6", Filter{Family: IPv6}, host, "[::1]:80", true},
		{"namespace", Filter{NetNS: host}, host, "10.0.0.1:80", true},
		{"other namespace", Filter{NetNS: host}, 1, "10.0.0.1:80", false},
	}
	for _, test := range tests {
		if got := test.filter.Match(test.netns, netip.MustParseAddrPort(test.local)); got != test.want {
			t.Errorf("%s: Match(%s) = %v", test.name, test.local, got)
		}
	}
}

func TestMatchListener(t *testing.T) {
	tests := []struct {
		name   string
		filter Filter
		bound  string
		v6only bool
		want   bool
	}{
		{"specific", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, "10.0.0.1:80", false, true},
		{"other specific", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, "127.0.0.1:80", false, false},
		{"wildcard takes part", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, "0.0.0.0:80", false, true},
		{"dual stack takes part", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, "[::]:80", false, true},
		{"v6only does not", Filter{Addr: netip.MustParsePrefix("10.0.0.0/8")}, "[::]:80", true, false},
		{"IPv4 wildcard has no IPv6", Filter{Family: IPv6}, "0.0.0.0:80", false, false},
		{"dual stack has IPv4", Filter{Family: IPv4}, "[::]:80", false, true},
		{"v6only has no IPv4", Filter{Family: IPv4}, "[::]:80", true, false},
		{"port of a wildcard", Filter{Ports: []PortRange{{81, 81}}}, "[::]:80", false, false},
	}
	for _, test := range tests {
		if got := test.filter.MatchListener(1, netip.MustParseAddrPort(test.bound), test.v6only); got != test.want {
			t.Errorf("%s: MatchListener(%s) = %v", test.name, test.bound, got)
		}
	}
}

func TestCheckRefusesTheImpossible(t *testing.T) {
	v4 := netip.MustParsePrefix("10.0.0.0/8")
	for _, test := range []struct {
		filter Filter
		ok     bool
	}{
		{Filter{}, true},
		{Filter{Addr: v4}, true},
		{Filter{Addr: v4, Family: IPv4}, true},
		{Filter{Addr: v4, Family: IPv6}, false},
		{Filter{Addr: netip.MustParsePrefix("::1/128"), Family: IPv4}, false},
	} {
		if err := test.filter.Check(); (err == nil) != test.ok {
			t.Errorf("Check(%s) = %v", &test.filter, err)
		}
	}
}

func TestString(t *testing.T) {
	for _, test := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "everything"},
		{Filter{Ports: []PortRange{{80, 80}, {8000, 8010}}}, "port 80, 8000-8010"},
		{Filter{Addr: netip.MustParsePrefix("127.0.0.1/32"), Family: IPv4}, "address 127.0.0.1; IPv4 only"},
		{Filter{PIDs: []int{12}, Comms: []string{"nginx"}}, "listeners held by pid 12, nginx"},
		{Filter{NetNS: 7, Cgroup: 9}, "network namespace 7; cgroup 9"},
	} {
		if got := test.filter.String(); got != test.want {
			t.Errorf("String() = %q, want %q", got, test.want)
		}
	}
}

func TestCgroupIDRefusesOtherDirectories(t *testing.T) {
	if _, err := CgroupID(t.TempDir()); !errors.Is(err, ErrNotCgroup) {
		t.Errorf("CgroupID of a plain directory = %v", err)
	}
	if _, err := CgroupID("/no/such/cgroup"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("CgroupID of nothing = %v", err)
	}
}

// Of a cgroup2 tree, what is below a directory is part of what is below the one
// above.
func TestCgroupsBelow(t *testing.T) {
	if _, err := CgroupsBelow(t.TempDir()); !errors.Is(err, ErrNotCgroup) {
		t.Errorf("a directory elsewhere: %v", err)
	}
	root, err := CgroupID("/")
	if err != nil {
		t.Skipf("no cgroup2 tree is mounted here: %v", err)
	}
	all, err := CgroupsBelow("/")
	if err != nil {
		t.Fatal(err)
	}
	if !all[root] {
		t.Errorf("%d is not among %v", root, all)
	}
}
