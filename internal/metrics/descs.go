package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// descs describe all metrics.
type descs struct {
	wait, depth, limit, places, oldest, maxDepth, full  *prometheus.Desc
	enqueued, accepted, acceptedDead, closeWait, reset  *prometheus.Desc
	dead, overflow, purged, migrated, errors, stalled   *prometheus.Desc
	listeners, folded, foldedTotal, lost, mode, buildOf *prometheus.Desc
	programSeconds, programRuns                         *prometheus.Desc
	all                                                 []*prometheus.Desc
}

func newDescs(chosen []Label) *descs {
	d := &descs{}
	var own []string
	for _, l := range chosen {
		own = append(own, l.String())
	}
	add := func(to **prometheus.Desc, name, help string, labels ...string) {
		*to = prometheus.NewDesc("acceptwatch_"+name, help, labels, nil)
		d.all = append(d.all, *to)
	}
	of := func(to **prometheus.Desc, name, help string, more ...string) {
		add(to, name, help, append(append([]string(nil), own...), more...)...)
	}
	of(&d.wait, "accept_wait_seconds", "How long accepted connections had waited in the accept queue. Native, and classic beside it.")
	of(&d.depth, "accept_queue_depth", "Connections in the accept queue now.")
	of(&d.limit, "accept_queue_limit", "Backlog of the listener: the queue is full when it holds one more.")
	of(&d.places, "accept_queue_places", "Connections that the accept queue holds when it is full: backlog + 1, summed up over the listeners.")
	of(&d.oldest, "accept_queue_oldest_seconds", "How long the oldest connection in the accept queue has waited; 0: the queue is empty.")
	of(&d.maxDepth, "accept_queue_max_depth", "The most connections that were in one accept queue since the start of acceptwatch. Not in mode restricted, which looks now and then.")
	of(&d.full, "accept_queue_full_seconds_total", "Time with more connections in the accept queue than the backlog, when new ones are refused.")
	of(&d.enqueued, "enqueued_total", "Connections that entered the accept queue.")
	of(&d.accepted, "accepted_total", "Connections that accept() took out of the queue.")
	of(&d.acceptedDead, "accepted_dead_total", "Of those accepted: the client had hung up or reset before.")
	of(&d.closeWait, "close_wait_total", "Connections that reached CLOSE_WAIT in the queue: the client hung up before accept. TCP health checks, which connect and close at once, count here, however fast the server accepts.")
	of(&d.reset, "reset_total", "Connections that were reset or timed out in the queue, before accept.")
	of(&d.dead, "dead_total", "Connections that died in the queue, before accept, each once: by close_wait_total, reset_total, or one after the other.")
	of(&d.overflow, "overflow_total", "Refused because the queue was full: at the SYN, or at the last ACK, when the client believes to be connected. What is sent again counts again.", "at")
	of(&d.purged, "purged_total", "Connections that were still in the queue when the listener closed.")
	of(&d.migrated, "migrated_total", "Connections that moved between the listeners of a SO_REUSEPORT group because one closed.", "direction")
	of(&d.errors, "accept_errors_total", "Calls of accept() that failed, by errno; those at listeners that are not known are in listener=\"other\".", "errno")
	of(&d.stalled, "stalled", "1 while connections are queued and nobody accepts for the time --stall-after.")
	add(&d.listeners, "listeners", "Listening sockets that are watched.")
	add(&d.folded, "listeners_folded", "Label sets for which there is no room now: they are summed up in listener=\"other\".")
	add(&d.foldedTotal, "series_folded_total", "Label sets that found no room, each time that one began to be summed up in listener=\"other\".")
	add(&d.lost, "lost_total", "What acceptwatch did not see or keep, by what; `acceptwatch trace` explains it in its summary.", "what")
	add(&d.mode, "mode_info", "How the kernel is watched: fentry, kprobe or restricted.", "mode")
	add(&d.buildOf, "build_info", "What acceptwatch was built from.", "version", "revision", "goversion")
	add(&d.programSeconds, "program_run_seconds_total", "Time in which the eBPF program ran; only with the sysctl kernel.bpf_stats_enabled.", "program")
	add(&d.programRuns, "program_runs_total", "Runs of the eBPF program; only with the sysctl kernel.bpf_stats_enabled.", "program")
	return d
}

// value is a counter or a gauge.
type value struct {
	desc    *prometheus.Desc
	labels  []*dto.LabelPair // sorted, to read only
	counter bool
	value   float64
}

func (v *value) Desc() *prometheus.Desc { return v.desc }

func (v *value) Write(m *dto.Metric) error {
	m.Label = v.labels
	if v.counter {
		m.Counter = &dto.Counter{Value: &v.value}
	} else {
		m.Gauge = &dto.Gauge{Value: &v.value}
	}
	return nil
}
