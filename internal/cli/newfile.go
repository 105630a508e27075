package cli

import (
	"fmt"
	"os"
	"path/filepath"
)

// newFile is a file that has its name only when it is whole, so that an output
// that fails leaves what was there. Like a recording it is for its owner only.
type newFile struct {
	*os.File
	name string
	kept bool
}

// createFile begins the file, or opens what is there and no regular file. What a
// link points to is replaced, not the link.
func createFile(name string) (*newFile, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, fileError(err)
		}
		return &newFile{File: file, name: name, kept: true}, nil
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return nil, fmt.Errorf("create %s: %v", name, reason(err))
	}
	return &newFile{File: file, name: name}, nil
}

func (f *newFile) keep() error {
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %v", f.name, reason(err))
	}
	if f.kept {
		return nil
	}
	if err := os.Rename(f.File.Name(), f.name); err != nil {
		return fmt.Errorf("create %s: %v", f.name, reason(err))
	}
	f.kept = true
	return nil
}

func (f *newFile) discard() {
	if !f.kept {
		f.Close()
		os.Remove(f.File.Name())
	}
}

// notItself refuses to write over the recording that is read, by whatever name.
func (a *app) notItself(recording, flag, output string) error {
	to, err := os.Stat(output)
	if err != nil || !to.Mode().IsRegular() {
		return nil // there is nothing to lose
	}
	var from os.FileInfo
	if recording != stdName {
		from, err = os.Stat(recording)
	} else if in, ok := a.In.(*os.File); ok {
		from, err = in.Stat()
	}
	if err == nil && from != nil && os.SameFile(from, to) {
		return usageErrorf("bad %s: %s is the recording itself, which would be lost; name another file", flag, output)
	}
	return nil
}
