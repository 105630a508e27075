package collect

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"acceptwatch/internal/diagnose"
)

// tree makes files below a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestGroupOfVersion2(t *testing.T) {
	root := tree(t, map[string]string{
		"cgroup.controllers": "cpu memory\n",
		"app/cpu.max":        "5000 100000\n", "app/cpu.stat": "usage_usec 1\nnr_periods 40\nnr_throttled 39\nthrottled_usec 3500000\n",
		"app/web/cpu.max": "max 100000\n", "app/web/cgroup.events": "populated 1\nfrozen 1\n",
		"app/web/memory.current": "1048576\n", "app/web/memory.high": "2097152\n", "app/web/memory.max": "max\n",
		"app/web/memory.events":   "low 0\nhigh 12\nmax 0\noom 0\n",
		"app/web/memory.pressure": "some avg10=0.00 total=7\nfull avg10=0.00 total=2000000\n",
	})
	want := diagnose.Cgroup{
		Path: "/app/web", Frozen: diagnose.Known(true), Quota: diagnose.Known(0.05),
		Periods: diagnose.Known[uint64](40), Throttled: diagnose.Known[uint64](39), ThrottledNS: diagnose.Known(3500 * time.Millisecond),
		Memory: diagnose.Known[uint64](1 << 20), MemoryHigh: diagnose.Known[uint64](2 << 20),
		HighEvents: diagnose.Known[uint64](12), MaxEvents: diagnose.Known[uint64](0), MemoryStall: diagnose.Known(2 * time.Second),
	}
	if got := cgroupFS(root).group("/app/web", "0::/app/web\n"); got != want {
		t.Errorf("got  %+v\nwant %+v: the quota of the parent, no limit that is max", got, want)
	}
}

func TestGroupOfVersion1(t *testing.T) {
	root := tree(t, map[string]string{
		"cpu/app/cpu.cfs_quota_us": "2000\n", "cpu/app/cpu.cfs_period_us": "100000\n",
		"cpu/app/cpu.stat":          "nr_periods 10\nnr_throttled 9\nthrottled_time 900000000\n",
		"freezer/app/freezer.state": "FROZEN\n", "memory/app/memory.failcnt": "3\n",
	})
	want := diagnose.Cgroup{
		Path: "/app", Frozen: diagnose.Known(true), Quota: diagnose.Known(0.02),
		Periods: diagnose.Known[uint64](10), Throttled: diagnose.Known[uint64](9), ThrottledNS: diagnose.Known(900 * time.Millisecond),
		MaxEvents: diagnose.Known[uint64](3),
	}
	if got := cgroupFS(root).group("/app", "5:freezer:/app\n4:memory:/app\n1:cpu:/app\n0::/\n"); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestGroupThatCannotBeRead(t *testing.T) {
	if got := cgroupFS(t.TempDir()).group("/x", "0::/x\n"); got != (diagnose.Cgroup{Path: "/x"}) {
		t.Errorf("got %+v, want nothing known", got)
	}
}

func TestCountsOfTheSpan(t *testing.T) {
	before := diagnose.Cgroup{Throttled: diagnose.Known[uint64](10), Periods: diagnose.Known[uint64](20)}
	now := diagnose.Cgroup{Throttled: diagnose.Known[uint64](15), HighEvents: diagnose.Known[uint64](9), Periods: diagnose.Known[uint64](3)}
	want := diagnose.Cgroup{Throttled: diagnose.Known[uint64](5)}
	if got := cgroupSince(now, before); got != want {
		t.Errorf("got %+v, want %+v: what is known at one end only is not known", got, want)
	}
}
