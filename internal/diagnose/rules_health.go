package diagnose

func healthRules() []Rule {
	return []Rule{{"nothing_wrong", "The queue is short, nobody waits long, nothing is refused and accept() does not fail.", judgeHealth}}
}

func judgeHealth(r *reasoning) *Verdict {
	if !r.served() || r.stalled() || r.refused() || judgeLeak(r) != nil {
		return nil
	}
	for _, errno := range []string{"EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"} {
		if n, _ := r.failed(errno); n > 0 {
			return nil
		}
	}
	v := &Verdict{
		Cause: NothingWrong, Confidence: High,
		Summary:  "nothing is wrong with accepting at this listener now",
		Evidence: []string{r.queueLine()},
		Refute:   "clients that wait or are refused while this says so",
		Do:       "if it comes and goes, let `acceptwatch trace --diagnose` or the flight recorder (`record --last`) wait for it",
	}
	if _, known := r.Queue.Refused.Get(); !known {
		v.Confidence = Medium
	}
	return v
}

// served says that it is known that nobody waits long.
func (r *reasoning) served() bool {
	depth, known := r.Queue.Depth.Get()
	_, aged := r.Queue.Oldest.Get()
	if known && (depth == 0 || aged || r.Queue.Accepting.Or(false)) {
		return true
	}
	// A thread that sleeps until there is something to accept finds nothing.
	return known && !r.edge && len(r.in(waiting)) > 0
}

// unexplained is the verdict when no rule has one.
func (r *reasoning) unexplained() Verdict {
	v := Verdict{Cause: CannotTell, Confidence: Low, Missing: r.Blind}
	var doing []*doer
	for _, d := range r.suspects {
		if d.does != resting {
			doing = append(doing, d)
		}
	}
	v.Evidence = r.lines(doing...)
	switch {
	case len(r.Processes) == 0 && r.stalled():
		v.Summary = "cannot tell: connections are queued and not accepted, and no process was found that holds the listener"
		v.Do = "run it as root, in the host's pid namespace, so that it sees the processes"
	case len(r.doers) == 0 && r.stalled():
		v.Summary = "cannot tell: connections are queued and not accepted, and the threads of the server could not be looked at"
		v.Do = "run it as root, or as the user of the server"
	case r.stalled():
		v.Summary = "cannot tell: connections are queued and not accepted, and nothing that the server's threads do explains it"
		v.Do = "look at the stacks of the server: gdb, py-spy, jstack, SIGQUIT for Go, and at its own limits on connections"
	case r.Queue.Depth.IsZero():
		v.Summary = "cannot tell: the listener was closed meanwhile, or could not be looked at"
		v.Do = "see whether the server still runs"
	default:
		v.Summary = "cannot tell: not enough is known of the queue"
		v.Do = "run it again for longer (--for 30s), as root"
	}
	return v
}
