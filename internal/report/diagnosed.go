package report

import (
	"net/netip"

	"acceptwatch/internal/diagnose"
)

// diagnosed takes the evidence of a stall that goes on, or was over by then.
func (c *collector) diagnosed(e *diagnose.Evidence) {
	if len(c.report.Diagnoses) >= mostWhy {
		return
	}
	d := Diagnosis{e, diagnose.Judge(e)}
	c.report.Diagnoses = append(c.report.Diagnoses, d)
	bound, err := netip.ParseAddrPort(e.Listener)
	if err != nil {
		return
	}
	for _, q := range c.queues {
		if s := q.stall; s != nil && s.Key.Addr == bound && s.Key.NetNS == e.NetNS && d.Verdicts[0].Names() {
			s.Diagnosis = &d
		}
	}
}
