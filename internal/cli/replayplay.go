package cli

import (
	"context"

	"acceptwatch/internal/recording"
)

// play takes what is left of the recording, and goes on elsewhere when the user
// wants that.
func (r *replay) play(ctx context.Context) error {
	for n := 0; r.reader.Next(); n++ {
		if n%1024 == 0 && (ctx.Err() != nil || readerGone(r.app.Out)) {
			break
		}
		rec := r.reader.Record()
		var err error
		if r.elsewhere(ctx, rec) {
			if ctx.Err() != nil {
				return nil
			}
			if err := r.goTo(r.player.take()); err != nil {
				return err
			}
			continue
		}
		switch {
		case rec.Kind == recording.KindDamage:
			r.damaged++
			r.app.log.Warn().Msg(recordingError(r.how.path, rec.Damage).Error())
		case rec.Kind == recording.KindHeader:
			err = r.begin(ctx, rec.Header)
		case r.session != nil && !r.ended:
			err = r.take(ctx, rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elsewhere waits for the turn of a record, if there is a player, and says that
// something else is wanted instead. Before anything is shown there is nothing to
// wait for.
func (r *replay) elsewhere(ctx context.Context, rec *recording.Record) bool {
	at, told := rec.Time()
	switch {
	case r.player == nil || r.session == nil || !told:
		return false
	case !r.began || r.ended:
		return r.player.elsewhere(ctx)
	}
	return r.player.reach(ctx, at)
}

// goTo goes on at a time of the run that is shown, as its user wants. What happened
// shortly before is taken too, so that what is shown then has a past.
func (r *replay) goTo(to int64) error {
	h, known, placed, from, until := r.header, r.hosts.known, r.placed, r.from, r.to
	if err := r.reader.SeekTime(to - recording.Lead); err != nil {
		return recordingError(r.how.path, err)
	}
	if err := r.open(h, h.Partial() || to-recording.Lead > h.Clock.Monotonic); err != nil {
		return err
	}
	r.placed, r.from, r.to = placed, from, until
	r.hosts.known = known // who held a socket held it then too
	return nil
}

// arrived shows all listeners as they are where a player has come to.
func (r *replay) arrived() {
	if v, ok := r.view.(tableView); ok && r.began {
		r.showTable(v, r.now)
	}
}
