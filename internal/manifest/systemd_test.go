package manifest

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// settings are those of a unit, of which lists are repeated.
func settings(unit []byte) map[string][]string {
	all := make(map[string][]string)
	for line := range strings.Lines(string(unit)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

func TestUnitHasTheCapabilitiesOfTheTable(t *testing.T) {
	all, required := "CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYS_ADMIN", "CAP_BPF CAP_PERFMON"
	for want, o := range map[string]Options{all: usual(Systemd), required: chosen(Systemd)} {
		s := settings(printed(t, Systemd, o))
		for _, key := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
			if diff := cmp.Diff([]string{want}, s[key]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
		}
		// These would hide what is looked at.
		for _, key := range []string{"ProtectProc", "ProcSubset", "PrivateNetwork", "PrivatePIDs", "PrivateUsers"} {
			if s[key] != nil {
				t.Errorf("%s=%s", key, s[key])
			}
		}
	}
	if s := settings(printed(t, Systemd, chosen(Systemd))); s["IPAddressDeny"] != nil {
		t.Error("metrics for others are served to this host alone")
	}
}

// TestUnitIsUnderstoodBySystemd also has a bound on what systemd thinks of it: 10
// is all that there is, and CAP_SYS_ADMIN alone makes out much of the rest.
func TestUnitIsUnderstoodBySystemd(t *testing.T) {
	analyze := need(t, "systemd-analyze", "ACCEPTWATCH_NEED_SYSTEMD")
	for _, o := range []Options{usual(Systemd), chosen(Systemd)} {
		o.Binary = "/bin/true"
		unit := written(t, "acceptwatch.service", printed(t, Systemd, o))
		if said := run(t, analyze, "verify", "--man=no", unit); strings.Contains(said, "acceptwatch.service") {
			t.Errorf("systemd-analyze verify:\n%s", said)
		}
		said := run(t, analyze, "security", "--offline=yes", "--no-pager", unit)
		found := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+)`).FindStringSubmatch(said)
		if found == nil {
			t.Fatalf("systemd-analyze security:\n%s", said)
		}
		t.Logf("exposure level %s with %d capabilities left out", found[1], len(o.Without))
		if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 3 {
			t.Errorf("exposure level %s:\n%s", found[1], said)
		}
	}
}
