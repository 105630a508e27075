package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// dumpSize counts what goes into a file.
type dumpSize struct {
	file *os.File
	n    int64
}

func (d *dumpSize) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.n += int64(n)
	return n, err
}

// dump begins a file. What fails is told, and tried again with the next trigger.
func (f *flight) dump(why, where string) {
	name := filepath.Join(f.dir, dumpName(f.app.env.now(), why))
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		f.live.warn("write a dump", fileError(err))
		return
	}
	f.out, f.written = file, dumpSize{file: file}
	if err := f.box.Dump(&f.written); err != nil {
		f.app.log.Error().Msg(name + ": " + err.Error())
		f.close()
		return
	}
	f.dumps++
	f.app.log.Warn().Str("trigger", why).Str("listener", where).Msg("writing " + name)
	f.tidy()
}

// dumpPrefix begins the names of dumps, and dumpSuffix ends them.
const (
	dumpPrefix = "acceptwatch-"
	dumpSuffix = ".trace"
)

// dumpName is the name of a dump: names are in the order of their times.
func dumpName(at time.Time, why string) string {
	word := strings.FieldsFunc(why, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
	text := "dump"
	if len(word) > 0 {
		text = word[0]
	}
	return dumpPrefix + at.UTC().Format("20060102T150405.000Z") + "-" + text + dumpSuffix
}

// tidy removes the oldest dumps that are too many.
func (f *flight) tidy() {
	names, err := filepath.Glob(filepath.Join(escapedGlob(f.dir), dumpPrefix+"*"+dumpSuffix))
	if err != nil {
		return
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-f.opt.dumps)] {
		if err := os.Remove(name); err != nil {
			f.live.warn("remove an old dump", err)
		}
	}
}

// escapedGlob is a path in which nothing is a pattern.
func escapedGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// step ends what is over, and does what a signal asks for.
func (f *flight) step(now int64) error {
	select {
	case <-f.asks:
		if f.out == nil {
			f.dump("signal", "")
		}
	default:
	}
	calm := now-f.fired >= int64(f.opt.calm)
	if calm {
		f.spent = false
	}
	switch {
	case f.out == nil:
	case !f.box.Dumping(): // it could not be written any further
		f.spent = true
		return f.stop()
	case calm:
		return f.stop()
	case f.written.n >= f.opt.size:
		f.app.log.Warn().Msg("ending " + f.out.Name() + ", which has reached --max-size")
		f.spent = true
		return f.stop()
	}
	return nil
}

// stop ends a dump. That it could not be ended is told, and is no end of the
// flight recorder.
func (f *flight) stop() error {
	if f.out == nil {
		return nil
	}
	if f.box.Dumping() {
		if err := f.box.Stop(); err != nil {
			f.app.log.Error().Msg(f.out.Name() + ": " + err.Error())
		}
	}
	if err := f.out.Sync(); err != nil {
		f.app.log.Error().Msg(f.out.Name() + ": " + err.Error())
	}
	f.app.log.Info().Msg("wrote " + f.out.Name() + ", " + sizeWords(f.written.n))
	f.close()
	return nil
}

func (f *flight) close() {
	f.out.Close()
	f.out = nil
}
