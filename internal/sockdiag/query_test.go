package sockdiag

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestRequestBytes(t *testing.T) {
	zeros := " 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000"
	for _, tt := range []struct {
		name   string
		q      Query
		family uint8
		want   string
	}{
		{"all", Query{}, unix.AF_INET, "02 06 00 00 fe1f0000 00000000" + zeros},
		{"listeners with one port", ListenersQuery(PortRange{8000, 8000}), unix.AF_INET6, "0a 06 40 00 00040000 1f400000" + zeros},
		{"a range", Query{Ext: ExtInfo, States: States(Established, CloseWait), Ports: []PortRange{{80, 90}}}, unix.AF_INET,
			"02 06 02 00 02010000 00000000" + zeros + `
			1400 0100
			02 08 1400 00 00 5000   # at  0: port >= 80, else to 20: past the end
			03 08 0c00 00 00 5a00   # at  8: port <= 90, else to 20`},
		{"two ports", Query{Ports: []PortRange{{443, 443}, {80, 80}}}, unix.AF_INET,
			"02 06 00 00 fe1f0000 00000000" + zeros + `
			2800 0100
			02 08 1400 00 00 5000   # at  0: port >= 80, else to 20
			03 08 0c00 00 00 5000   # at  8: port <= 80, else to 20
			01 04 1400              # at 16: to 36, the end: accept
			02 08 1400 00 00 bb01   # at 20: port >= 443, else to 40: past the end
			03 08 0c00 00 00 bb01   # at 28: port <= 443, else to 40`},
	} {
		ranges, err := joinRanges(tt.q.Ports)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got := tt.q.request(tt.family, ranges)
		if want := literal(t, tt.want); !bytes.Equal(want, got) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, got, want)
		}
	}
}

func TestJoinRanges(t *testing.T) {
	for _, tt := range []struct {
		in, want []PortRange
		bad      bool
	}{
		{nil, nil, false},
		{[]PortRange{{3, 3}, {1, 1}, {2, 2}}, []PortRange{{1, 3}}, false},
		{[]PortRange{{10, 20}, {12, 14}, {30, 40}}, []PortRange{{10, 20}, {30, 40}}, false},
		{[]PortRange{{65535, 65535}, {1, 65535}}, []PortRange{{1, 65535}}, false},
		{[]PortRange{{2, 1}}, nil, true},
		{[]PortRange{{0, 1}}, nil, true},
	} {
		got, err := joinRanges(tt.in)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.bad {
			t.Errorf("%v: %v, %s", tt.in, err, diff)
		}
	}
}

// accepts runs the filter as the kernel does (inet_diag_bc_run).
func accepts(code []byte, port uint16) bool {
	ne := binary.NativeEndian
	at := 0
	for at < len(code) {
		ok := false
		switch code[at] {
		case opSourceGE:
			ok = port >= ne.Uint16(code[at+6:])
		case opSourceLE:
			ok = port <= ne.Uint16(code[at+6:])
		}
		if ok {
			at += int(code[at+1])
		} else {
			at += int(ne.Uint16(code[at+2:]))
		}
	}
	return at == len(code)
}

func TestPortFiltersAcceptExactlyTheRanges(t *testing.T) {
	ranges := []PortRange{{1, 1}, {80, 90}, {443, 443}, {8000, 9000}, {65535, 65535}}
	code := portFilter(ranges)
	for port := 0; port <= 65535; port++ {
		want := false
		for _, r := range ranges {
			want = want || port >= int(r.Low) && port <= int(r.High)
		}
		if got := accepts(code, uint16(port)); got != want {
			t.Fatalf("port %d: accepted %v, want %v", port, got, want)
		}
		if got := among(ranges, uint16(port)); got != want {
			t.Fatalf("port %d: among the ranges %v, want %v", port, got, want)
		}
	}
}
