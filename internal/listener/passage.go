package listener

// passage is what is known of how many have passed the queues of a row, where
// accept() is not watched (Options.Sampled): who had entered before a sample, and
// is in no queue at a walk after it, has left. Between two looks nobody sees how:
// while the listeners stay open, accept is the only way.
type passage struct {
	entered  uint64 // queued at attach, or counted since, as of the last sample
	at       int64  // ns: of that sample; 0: there was none
	left     uint64 // of entered
	accepted uint64 // of left
	seen     uint64 // accepted and caught by a look, when left was found
	before   uint64 // had left when this began, in the middle of a recording: nobody knows how
	closed   uint64 // listeners that were closed by then
	begun    bool
	// unclear says that some have left when a listener was closed, of which nobody
	// knows whether they were accepted before.
	unclear bool
}

// pass finds who has left the queues of each row since the sample before.
func (t *Table) pass() {
	for _, r := range t.rows {
		if depth, looked := r.lookedAt(r.passage.at); looked {
			t.passed(r, depth)
		}
	}
}

// lookedAt is how many were in the row's queues when walks looked at all of them,
// later than a time.
func (r *row) lookedAt(at int64) (depth uint64, looked bool) {
	if at == 0 || len(r.open) == 0 {
		return 0, false
	}
	for _, m := range r.open {
		if m.walks == 0 || m.last.at < at {
			return 0, false
		}
		depth += uint64(m.last.depth)
	}
	return depth, true
}

func (t *Table) passed(r *row, depth uint64) {
	p := &r.passage
	seen, purged := r.seen()
	closed := r.closed + uint64(len(r.closing))
	left := p.entered - min(p.entered, depth)
	grown, grownSeen := Grown(left, p.left), Grown(seen, p.seen)
	switch {
	case !p.begun && t.opt.Start == 0:
		grown, p.before = seen, left-min(left, seen+purged)
	case closed != p.closed && grown > grownSeen:
		grown, p.unclear = grownSeen, true
	}
	p.begun = true
	p.accepted += grown
	p.left, p.seen, p.closed = max(p.left, left), seen, closed
}

// enter notes who has entered the queues of each row, as of a sample.
func (t *Table) enter(at int64) {
	for _, r := range t.rows {
		p := &r.passage
		p.entered, p.at = r.total.atAttach+r.deaths.enqueued, at
		for _, members := range [][]*member{r.open, r.closing} {
			for _, m := range members {
				queued, _ := m.queuedAtAttach()
				p.entered += queued
			}
		}
	}
}

// seen is how many a look had caught that were accepted then, or purged.
func (r *row) seen() (accepted, purged uint64) {
	accepted, purged = r.total.accepted, r.total.purged
	for _, members := range [][]*member{r.open, r.closing} {
		for _, m := range members {
			accepted += m.counts.Accepted
			purged += m.counts.Purged
		}
	}
	return accepted, purged
}

// absorb takes over what is known of a row that is forgotten.
func (p *passage) absorb(o *passage) {
	p.left += o.left
	p.accepted += o.accepted
	p.seen += o.seen
	p.before += o.before
	p.closed += o.closed
	p.unclear = p.unclear || o.unclear
}

// setPassed tells of a row how many were accepted, and of how many nobody knows.
func (v *Row) setPassed(p *passage, mptcp bool) {
	v.Sampled, v.Seen = true, v.Accepted
	v.Accepted = max(v.Seen, p.accepted)
	entered := v.QueuedAtAttach + v.Enqueued
	v.AtLeast = mptcp || p.unclear || !v.AttachKnown || v.Open == 0 && entered > v.Accepted+v.Purged+p.before
}
