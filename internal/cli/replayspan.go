package cli

import (
	"math"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/recording"
)

// replayOptions say what to replay and how.
type replayOptions struct {
	path         string
	since, until moment
	// ownStall says that the time of a stall is the user's, not the recording's.
	ownStall bool
}

// replayFlags are the flags of commands that read recordings.
type replayFlags struct{ path, since, until string }

func (f *replayFlags) register(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVarP(&f.path, "read", "r", "", usage+"; a `file`")
	// It fails for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("read", completeRecordingFlag)
	f.registerSpan(cmd)
}

func (f *replayFlags) registerSpan(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.since, "since", "", "of a recording, only what is at or after this `time`: 14:02:10, 2024-05-17T14:02:10Z, or 90s from its beginning")
	cmd.Flags().StringVar(&f.until, "until", "", "of a recording, only what is before this `time`")
}

// parse checks the flags. Those that are not for recordings are named.
func (f *replayFlags) parse(cmd *cobra.Command, zone *time.Location, liveOnly ...string) (how replayOptions, err error) {
	if f.path == "" {
		if f.since != "" || f.until != "" {
			return how, usageErrorf("--since and --until show a part of a recording: give one with -r FILE")
		}
		return how, nil
	}
	for _, name := range liveOnly {
		if cmd.Flags().Changed(name) {
			return how, usageErrorf("--%s is for what happens now, and -r shows a recording: leave one of them out", name)
		}
	}
	how = replayOptions{path: f.path, ownStall: cmd.Flags().Changed("stall-after")}
	if how.since, err = parseMoment("since", f.since, zone); err != nil {
		return how, err
	}
	how.until, err = parseMoment("until", f.until, zone)
	return how, err
}

// span is what is to be shown of a run, by its beginning, in ns of
// CLOCK_MONOTONIC.
func (o *replayOptions) span(beginning int64, h *recording.Header) (from, to int64, err error) {
	from, to = math.MinInt64, math.MaxInt64
	if o.since.given {
		from = o.since.at(beginning, h)
	}
	if o.until.given {
		to = o.until.at(beginning, h)
	}
	if from >= to {
		return from, to, usageErrorf("--since is not before --until: nothing is between them")
	}
	return from, to, nil
}
