package cli

import "acceptwatch/internal/fence"

// giveUp takes from the process, for good, what it will not use later. It is
// called once, by a command that goes on for long, when it has attached and has
// opened its files. What cannot be given up is told, and stops nobody from
// watching.
func (a *app) giveUp(later fence.Later) {
	if a.env.fence == nil {
		return
	}
	if err := a.env.fence(later); err != nil {
		a.log.Warn().Err(err).Msg("cannot give up privileges")
	}
}
