package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/trigger"
)

// flightFlags are the flags of the flight recorder, parsed.
type flightFlags struct {
	last    time.Duration
	text    string
	trigger *trigger.Trigger // nil: only SIGUSR1
	calm    time.Duration
	dumps   int
	limit   string
	size    int64 // bytes of one dump
	room    string
	memory  int64 // bytes
}

func (f *flightFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.last, "last", 0, "flight recorder: keep this `time` in memory, and write it when a trigger fires")
	flags.StringVar(&f.text, "trigger", "", "flight recorder: what to write it for, such as 'close_wait>=1/s | stall'")
	flags.DurationVar(&f.calm, "calm", 10*time.Second, "flight recorder: end a file when no trigger has fired for this `time`")
	flags.IntVar(&f.dumps, "max-files", 20, "flight recorder: keep this `number` of files, and remove older ones")
	flags.StringVar(&f.limit, "max-size", "256M", "flight recorder: end a file at this `size`")
	flags.StringVar(&f.room, "memory", "64M", "flight recorder: keep at most this `size` in memory, and less than --last then")
}

func (f *flightFlags) on() bool { return f.last > 0 }

// parse checks the flags, with those of other recordings.
func (f *flightFlags) parse(cmd *cobra.Command, into *fileFlags) (err error) {
	if cmd.Flags().Changed("last") && f.last <= 0 {
		return usageErrorf("bad --last: %s keeps nothing, give a time such as 10m", f.last)
	}
	if !f.on() {
		for _, name := range []string{"trigger", "calm", "max-files", "max-size", "memory"} {
			if cmd.Flags().Changed(name) {
				return usageErrorf("--%s is of the flight recorder: say how much of the past to keep with --last, such as --last 10m", name)
			}
		}
		return nil
	}
	for _, name := range []string{"rotate-size", "rotate-every", "keep", "no-sync"} {
		if cmd.Flags().Changed(name) {
			return usageErrorf("--%s is not for the flight recorder, which writes a file for each incident: see --max-files and --max-size", name)
		}
	}
	if cmd.Flags().Changed("trigger") {
		if f.trigger, err = trigger.Parse(f.text); err != nil {
			return usageErrorf("bad --trigger: %w", err)
		}
	}
	if f.size, err = parseSize(f.limit); err != nil {
		return usageErrorf("bad --max-size: %w", err)
	}
	if f.memory, err = parseSize(f.room); err != nil {
		return usageErrorf("bad --memory: %w", err)
	}
	switch {
	case f.calm <= 0:
		return usageErrorf("bad --calm: %s is no time to wait, give one such as 10s", f.calm)
	case f.dumps <= 0:
		return usageErrorf("bad --max-files: with %d nothing would be kept", f.dumps)
	case into.path == stdName:
		return usageErrorf("the flight recorder writes a file for each incident: give -w a directory")
	}
	return nil
}

// writableDirectory says whether files can be made there, before anybody relies
// on it.
func writableDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fileError(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory, and the flight recorder writes a file for each incident", path)
	}
	probe, err := os.CreateTemp(path, ".acceptwatch-*")
	if err != nil {
		return fmt.Errorf("cannot write in %s: %v", path, reason(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
