package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePorts(t *testing.T) {
	tests := []struct {
		lists []string
		want  []PortRange
	}{
		{[]string{"8000"}, []PortRange{{8000, 8000}}},
		{[]string{"443,80"}, []PortRange{{80, 80}, {443, 443}}},
		{[]string{"80", "443"}, []PortRange{{80, 80}, {443, 443}}},
		{[]string{"8000-8010"}, []PortRange{{8000, 8010}}},
		{[]string{"8000-8010, 8005-8020"}, []PortRange{{8000, 8020}}},
		{[]string{"8001,8000,8002"}, []PortRange{{8000, 8002}}},
		{[]string{"80,80"}, []PortRange{{80, 80}}},
		{[]string{"1-65535,65535"}, []PortRange{{1, 65535}}},
	}
	for _, test := range tests {
		got, err := ParsePorts(test.lists...)
		if err != nil {
			t.Errorf("ParsePorts(%q): %v", test.lists, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("ParsePorts(%q):\n%s", test.lists, diff)
		}
	}
}

func TestParsePortsRefuses(t *testing.T) {
	tests := []struct{ list, says string }{
		{"", "a number is missing"},
		{"80,", "a number is missing"},
		{"80-", "a number is missing"},
		{"-80", "a number is missing"},
		{"0", "begin at 1"},
		{"65536", "end at 65535"},
		{"99999999999999999999999", "end at 65535"},
		{"http", "not a number"},
		{"+80", "not a number"},
		{"8010-8000", "write 8000-8010"},
		{"1-2-3", "not a number"},
	}
	for _, test := range tests {
		_, err := ParsePorts(test.list)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("ParsePorts(%q) = %v, want %q", test.list, err, test.says)
		}
	}
}

func TestParseAddr(t *testing.T) {
	tests := []struct{ text, want string }{
		{"127.0.0.1", "127.0.0.1/32"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"::1", "::1/128"},
		{"[::1]", "::1/128"},
		{"fd00::/8", "fd00::/8"},
		{"::ffff:10.0.0.1", "10.0.0.1/32"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
	}
	for _, test := range tests {
		got, err := ParseAddr(test.text)
		if err != nil || got.String() != test.want {
			t.Errorf("ParseAddr(%q) = %v, %v, want %s", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{"", "localhost", "1.2.3", "fe80::1%eth0", "1.2.3.4/33", "1.2.3.4:80", "::ffff:1.2.3.4/90"} {
		if got, err := ParseAddr(text); err == nil {
			t.Errorf("ParseAddr(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{"8000", "80,443", "8000-8010,1-2", "", "65535-65536", "-", "1-65535,3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		ranges, err := ParsePorts(list)
		if err != nil {
			return
		}
		for i, r := range ranges {
			if r.First == 0 || r.First > r.Last {
				t.Fatalf("ParsePorts(%q) gave range %v", list, r)
			}
			if i > 0 && uint32(r.First) <= uint32(ranges[i-1].Last)+1 {
				t.Fatalf("ParsePorts(%q) left %v and %v apart", list, ranges[i-1], r)
			}
		}
		again, err := ParsePorts((&Filter{Ports: ranges}).PortList())
		if diff := cmp.Diff(ranges, again); err != nil || diff != "" {
			t.Fatalf("ParsePorts(%q) does not survive being printed: %v\n%s", list, err, diff)
		}
	})
}

func FuzzParseAddr(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "10.0.0.0/8", "::ffff:1.2.3.4/100", "[::1]", "fe80::1%eth0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		prefix, err := ParseAddr(text)
		if err != nil {
			return
		}
		if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			t.Fatalf("ParseAddr(%q) = %v", text, prefix)
		}
	})
}
