package debian

import "testing"

func TestVersionsOrderAsDpkgOrders(t *testing.T) {
	ascending := [][]string{
		{"1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0.1-1", "1:0.1-1"},
		{"6.12.117-1~deb12u1", "6.12.117-1", "6.12.117-2", "6.12.120-1~bpo12+1"},
		{"5.10.9-1", "5.10.100-1", "5.10.262-1"},
		{"6.1.192-1~deb11u1", "6.1.192-1", "6.1.192-2"},
		{"7.2.12-1~bpo13+1", "7.3.4-1~bpo13+1", "7.10.1-1"},
		{"1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+"},
	}
	for _, versions := range ascending {
		for i, a := range versions {
			for j, b := range versions {
				want := min(1, max(-1, i-j))
				if got := CompareVersions(a, b); got != want {
					t.Errorf("compare %s with %s: %d, want %d", a, b, got, want)
				}
			}
		}
	}
	for _, equal := range [][2]string{{"1.0", "0:1.0"}, {"1.01", "1.1"}, {"1.0-0", "1.0"}} {
		if got := CompareVersions(equal[0], equal[1]); got != 0 {
			t.Errorf("compare %s with %s: %d, want 0", equal[0], equal[1], got)
		}
	}
}
