package cli

import (
	"context"
	"errors"
)

// openProbe is the source of a live command: the eBPF programs.
func openProbe(_ context.Context, _ sourceOptions) (source, error) {
	return nil, unavailable(errors.ErrUnsupported, "this build has no probe")
}
