package diagnose

import (
	"fmt"

	"acceptwatch/internal/quantity"
)

func descriptorRules() []Rule {
	return []Rule{
		{"descriptor_leak", "The server holds many connections in CLOSE_WAIT that it accepted and never closed.", judgeLeak},
		{"out_of_descriptors", "accept() fails for want of descriptors, or a process or the system has none left.", judgeDescriptors},
	}
}

// leakFrom is from how many sockets on a leak is named.
const leakFrom = 16

func judgeLeak(r *reasoning) *Verdict {
	held, known := r.Queue.Held.Get()
	if !known || held < leakFrom {
		return nil
	}
	open := max(r.Queue.Open.Or(held), held)
	dead := int(r.Queue.Dead.Or(0))
	if held <= dead || 2*held < open { // it does not dominate
		return nil
	}
	v := &Verdict{
		Cause: DescriptorLeak, Confidence: High,
		Summary: fmt.Sprintf("the server does not close its connections: it holds %d whose clients have hung up (CLOSE_WAIT, accepted)", held),
		Evidence: []string{
			fmt.Sprintf("%d of %s that it accepted and has open are in CLOSE_WAIT", held, quantity.Plural(open, "connection")),
			r.queueLine(),
		},
		Refute: "the number of CLOSE_WAIT sockets with a process goes down by itself",
		Do:     "find where the server stops reading a connection without closing it: after an error, a timeout, or in a table of clients; `ss -tnp state close-wait` lists them",
	}
	for i := range r.Processes {
		p := &r.Processes[i]
		if n, known := p.Descriptors.Get(); known {
			v.Evidence = append(v.Evidence, descriptorsOf(p, n))
		}
	}
	if r.stalled() && !r.Queue.Accepting.Or(false) && judgeDescriptors(r) == nil {
		v.Confidence = Low
		v.Summary = fmt.Sprintf("the server holds %d connections whose clients have hung up (CLOSE_WAIT, accepted): they may be the effect of what stops it, as clients give up then", held)
		v.Refute = "the CLOSE_WAIT sockets go away once the server accepts again"
	}
	return v
}

func descriptorsOf(p *Process, n int) string {
	text := fmt.Sprintf("%s[%d] has %s open", p.Comm, p.PID, quantity.Plural(n, "descriptor"))
	if limit, known := p.DescriptorLimit.Get(); known {
		text += fmt.Sprintf(", of %d it may have", limit)
	}
	return text
}

func judgeDescriptors(r *reasoning) *Verdict {
	v := &Verdict{Cause: OutOfDescriptors, Confidence: High, Evidence: []string{r.queueLine()}}
	if n, by := r.failed("ENFILE"); n > 0 {
		v.Summary = "the system is out of descriptors: accept() fails with ENFILE"
		v.Evidence = append(v.Evidence, fmt.Sprintf("accept() of %s[%d] failed %s with ENFILE", by.Comm, by.PID, times(n)))
		v.Refute = "fs.file-nr is far below fs.file-max"
		v.Do = "raise fs.file-max, and find the process that holds the files: `lsof` counts them"
		return v
	}
	v.Refute = "the process has fewer descriptors open than its limit (`ls /proc/PID/fd | wc -l`)"
	v.Do = "raise the limit (LimitNOFILE= of its unit, `ulimit -n`, or `prlimit --nofile` now), and find out what it keeps open"
	if n, by := r.failed("EMFILE"); n > 0 {
		v.Summary = fmt.Sprintf("%s[%d] is out of descriptors: accept() fails with EMFILE", by.Comm, by.PID)
		v.Evidence = append(v.Evidence, fmt.Sprintf("accept() failed %s with EMFILE", times(n)))
		for i := range r.Processes {
			if p := &r.Processes[i]; p.PID == by.PID {
				if n, known := p.Descriptors.Get(); known {
					v.Evidence = append(v.Evidence, descriptorsOf(p, n))
				}
			}
		}
		return v
	}
	if !r.stalled() || r.Queue.FailuresSeen {
		return nil
	}
	for i := range r.Processes {
		p := &r.Processes[i]
		n, known := p.Descriptors.Get()
		limit, limited := p.DescriptorLimit.Get()
		if known && limited && uint64(n) >= limit {
			v.Summary = fmt.Sprintf("%s[%d] is out of descriptors: it has %d open and may have %d", p.Comm, p.PID, n, limit)
			v.Evidence = append(v.Evidence, descriptorsOf(p, n))
			return v
		}
	}
	files, known := r.System.Files.Get()
	if limit, limited := r.System.FileLimit.Get(); known && limited && files >= limit {
		v.Summary = "the system is out of descriptors"
		v.Evidence = append(v.Evidence, fmt.Sprintf("%s open of %d that may be (fs.file-max)", quantity.Of(files, "[file is|files are]"), limit))
		return v
	}
	return nil
}

func times(n uint64) string { return quantity.Plural(n, "time") }
