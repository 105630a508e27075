// Package metrics turns looks at listeners into Prometheus metrics. It reads no
// clock and nothing of the host: it is told the rows of a listener.Table, and
// gives metrics.
//
// # What a series counts
//
// A series is one set of labels: by default an address that is listened on, its
// port and its network namespace. Fewer labels sum: counters, waits and depths are
// added, of ages and greatest depths it is the greatest. Each queue holds one more
// than its limit, so a sum is as full as its depth is of accept_queue_places. A
// counter counts what
// happened while its labels were so: when the server at an address is replaced
// by one in another container, the series of the first stops, and that of the
// second begins at 0. No counter goes back while its series is there.
//
// A series whose listeners have all closed stays for ten minutes with its last
// counts, so that no scraper misses them, or less if its place is needed and it
// was shown twice. It has no depth then, no limit, no places and no stall, as there is no
// queue. When it comes back after that, it begins at 0.
//
// At most as many series as Options.Most, besides one: what finds no room is summed
// up in listener="other", with what the source itself could tie to no listener,
// and the waits of listeners for which the kernel had no memory for a histogram.
// What could be tied to no listener waits for one to become known for a minute, and
// stays in listener="other" when that happens later.
//
// Failed accepts for want of descriptors, and what can be lost, are 0 before the
// first, as is listener="other" while something waits to be counted there:
// increase() does not see a counter that comes with its first value. (Runs
// that were skipped are not: older kernels do not tell them.)
//
// # What is left out
//
// What a mode cannot know has no series, rather than one that is 0: mode
// restricted samples accept(), so it has no waits, counts only what enters a queue
// (but by MPTCP) and dies there, and does not know how deep a queue was between two
// looks. How many were accepted it knows as of a look only, and of some listeners
// only that they were so many at least, which makes no counter. What the
// kernel counts only when it is asked to (the run time of eBPF programs, sysctl
// kernel.bpf_stats_enabled) is there when it does.
//
// # How exact
//
// Counts are those of the kernel. Waits are counted there in buckets whose bounds
// are 1/32 apart or 1 µs (listener.BucketBounds). Here each goes as a whole to
// where its middle lies, in the native histogram (8 buckets a power of two) and in
// the classic one: a wait within 1.6 % of a bound can be on its other side. The
// sum of waits is that of the middles, within 1.6 %.
package metrics
