package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/ui"
)

// stdName is the name of standard output, or input, in place of a file.
const stdName = "-"

// Names of recording.Header.Settings.
const (
	settingMinWait = "min_wait" // shorter waits were not recorded
	settingKinds   = "events"   // the kinds that were recorded; missing: all
)

// headerOf is what a recording says of the run that made it.
func headerOf(l *live, recorded sourceOptions) *recording.Header {
	o := l.opt
	settings := map[string]string{recording.SettingStallAfter: o.stallAfter.String()}
	if text, err := json.Marshal(&o.filter); err == nil {
		settings[recording.SettingFilter] = string(text)
	}
	if recorded.MinWait > 0 {
		settings[settingMinWait] = recorded.MinWait.String()
	}
	if recorded.Kinds != nil {
		var names []string
		for _, k := range recorded.Kinds {
			names = append(names, k.String())
		}
		settings[settingKinds] = strings.Join(names, ",")
	}
	return &recording.Header{
		Tool: toolVersion(), Host: l.app.env.host.name, Kernel: l.app.env.host.kernel, BootID: l.app.env.host.bootID,
		Start: l.start, Clock: l.clock.now, Mode: l.about.mode, Why: l.about.why, Limits: l.about.limits,
		Filter: o.filter.String(), Settings: settings, NetNS: l.about.netns,
	}
}

// settingsOf are the settings of a run that was recorded, and false for one
// that cannot be understood.
func settingsOf(h *recording.Header) (f filter.Filter, stallAfter time.Duration, err error) {
	stallAfter = time.Second
	if h == nil {
		return f, stallAfter, nil
	}
	if text := h.Settings[recording.SettingFilter]; text != "" {
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return f, stallAfter, fmt.Errorf("read the filter of the recording: %w", err)
		}
	}
	if text := h.Settings[recording.SettingStallAfter]; text != "" {
		if stallAfter, err = time.ParseDuration(text); err != nil || stallAfter <= 0 {
			return f, stallAfter, fmt.Errorf("read the recording's time of a stall: %q is no time", text)
		}
	}
	return f, stallAfter, nil
}

// identity is what a recording says of the machine.
type identity struct{ name, kernel, bootID string }

func hostIdentity() (id identity) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		id.name, id.kernel = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:])
	}
	if text, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		id.bootID = strings.TrimSpace(string(text))
	}
	return id
}

// fileFlags are the flags of a recording into files.
type fileFlags struct {
	path    string
	options recording.FileOptions
	size    string
}

// parse checks what can be checked before anything is attached.
func (f *fileFlags) parse(out io.Writer) error {
	o := &f.options
	if f.size != "" {
		var err error
		if o.MaxSize, err = parseSize(f.size); err != nil {
			return usageErrorf("bad --rotate-size: %w", err)
		}
	}
	rotates := f.rotates()
	switch {
	case o.MaxAge < 0:
		return usageErrorf("bad --rotate-every: %s is over before it begins, give a time such as 10m", o.MaxAge)
	case o.Keep < 0:
		return usageErrorf("bad --keep: there are no %d files, give how many to keep", o.Keep)
	case o.Keep > 0 && !rotates:
		return usageErrorf("--keep says how many of several files to keep: give --rotate-size or --rotate-every too")
	case rotates && f.path == stdName:
		return usageErrorf("standard output is no file and cannot be rotated: give -w a file")
	case f.path == stdName && ui.IsTerminal(out):
		return usageErrorf("a recording is not for a terminal: pipe it somewhere, or give -w a file")
	}
	return nil
}

// rotates says that other files are begun later.
func (f *fileFlags) rotates() bool { return f.options.MaxSize > 0 || f.options.MaxAge > 0 }

// create begins the recording.
func (f *fileFlags) create(out io.Writer, h *recording.Header) (*recordFile, error) {
	if f.path == stdName {
		w, err := recording.NewWriter(out, h, f.options.Options)
		if err != nil {
			return nil, err
		}
		return &recordFile{tape{to: w}, w, "standard output"}, nil
	}
	file, err := recording.Create(f.path, h, f.options)
	if err != nil {
		return nil, fileError(err)
	}
	return &recordFile{tape{to: file}, file, f.path}, nil
}

// fileError is an error of a file in one sentence. What a user may not do to
// files is an error like any other, and nothing of the kernel's (exit code 3).
func fileError(err error) error {
	var (
		path  *fs.PathError
		write *recording.WriteError // which says it all
	)
	if errors.As(err, &write) || !errors.As(err, &path) {
		return err
	}
	var hint string
	switch {
	case errors.Is(path.Err, fs.ErrNotExist):
		hint = ": there is no such file or directory"
	case errors.Is(path.Err, fs.ErrPermission):
		hint = ": you may not do that there"
	default:
		hint = ": " + path.Err.Error()
	}
	verb := path.Op
	if verb == "open" && strings.HasPrefix(err.Error(), "create") {
		verb = "create"
	}
	return fmt.Errorf("%s %s%s", verb, path.Path, hint)
}

// reason is what the system said, without the operation and the path.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// recordFile is a recording into a file or a pipe.
type recordFile struct {
	tape
	closer io.Closer
	name   string
}

// closed ends the recording after a run, which ended with err. An error is that
// of the run, or else of the recording.
func (r *recordFile) closed(err error) error {
	closing := r.closer.Close()
	switch {
	case err != nil:
		return err
	case r.failed() != nil:
		return r.failed()
	}
	return closing
}

// parseSize reads a number of bytes: 500k, 64M, 2G; powers of 1024.
func parseSize(text string) (int64, error) {
	var (
		number int64
		unit   string
	)
	if n, err := fmt.Sscanf(text, "%d%s", &number, &unit); n == 0 || err != nil && n < 1 {
		return 0, fmt.Errorf("%q is no size, give one such as 64M", text)
	}
	shift, ok := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(unit), "b"), "i")]
	if !ok || number <= 0 || number > 1<<(62-shift) {
		return 0, fmt.Errorf("%q is no size, give one such as 64M", text)
	}
	return number << shift, nil
}
