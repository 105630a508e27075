package diagnose

import "fmt"

func haltRules() []Rule {
	return []Rule{
		{"frozen", "The control group of the process is frozen.", judgeFrozen},
		{"traced", "A debugger has stopped the process.", judgeTraced},
		{"stopped", "The process was stopped by a signal.", judgeStopped},
	}
}

func judgeFrozen(r *reasoning) *Verdict {
	if !r.stalled() {
		return nil
	}
	for i := range r.Cgroups {
		g := &r.Cgroups[i]
		if !g.Frozen.Or(false) {
			continue
		}
		return &Verdict{
			Cause: Frozen, Confidence: High,
			Summary:  "the control group of the server is frozen: none of its processes runs",
			Evidence: []string{r.queueLine(), "cgroup " + g.Path + " is frozen"},
			Refute:   "the server's threads use CPU time",
			Do:       "thaw it: `docker unpause`, `systemctl thaw`, or write 0 into cgroup.freeze",
		}
	}
	return nil
}

// haltedDoers are the threads of stopped processes, unless others of the holders
// still wait for the listener.
func (r *reasoning) haltedDoers() []*doer {
	if !r.stalled() {
		return nil
	}
	var list []*doer
	for i := range r.doers {
		switch d := &r.doers[i]; d.does {
		case halted:
			list = append(list, d)
		case waiting:
			if !r.edge {
				return nil
			}
		}
	}
	return list
}

func judgeTraced(r *reasoning) *Verdict {
	for _, d := range r.haltedDoers() {
		tracer := d.process.Tracer.Or(0)
		if tracer == 0 {
			continue
		}
		by := fmt.Sprintf("process %d", tracer)
		if d.process.TracerComm != "" {
			by = fmt.Sprintf("%s[%d]", d.process.TracerComm, tracer)
		}
		return &Verdict{
			Cause: Traced, Confidence: High,
			Summary:  fmt.Sprintf("%s is held by a debugger: %s", d.name(), by),
			Evidence: append(r.lines(), fmt.Sprintf("%s is in state %s, and TracerPid names %s", d.name(), d.sight.State, by)),
			Refute:   "its state is not t or T",
			Do:       "let the debugger go on or detach (gdb: `continue`, `detach`), or end it",
		}
	}
	return nil
}

func judgeStopped(r *reasoning) *Verdict {
	for _, d := range r.haltedDoers() {
		if d.process.Tracer.Or(0) != 0 {
			continue
		}
		return &Verdict{
			Cause: Stopped, Confidence: High,
			Summary:  fmt.Sprintf("%s is stopped by a signal (SIGSTOP, SIGTSTP, SIGTTIN)", d.name()),
			Evidence: append(r.lines(), d.name()+" is in state T"),
			Refute:   "its state is not T (`ps -o stat`)",
			Do:       fmt.Sprintf("find out who stopped it, and let it go on: `kill -CONT %d`", d.process.PID),
		}
	}
	return nil
}
