package cli

import "acceptwatch/internal/recording"

// goTo goes on at a time of the run that is shown, as its user wants. What happened
// shortly before is taken too, so that what is shown then has a past.
func (r *replay) goTo(to int64) error {
	h, known := r.header, r.hosts.known
	if err := r.reader.SeekTime(to - recording.Lead); err != nil {
		return recordingError(r.how.path, err)
	}
	if err := r.open(h, h.Partial() || to-recording.Lead > h.Clock.Monotonic); err != nil {
		return err
	}
	r.hosts.known = known // who held a socket held it then too
	return nil
}

// arrived shows all listeners as they are where a player has come to.
func (r *replay) arrived() {
	if v, ok := r.view.(tableView); ok && r.began {
		r.showTable(v, r.now)
	}
}
