package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"acceptwatch/internal/recording"
)

// openRecording opens a file, or standard input for "-".
func (a *app) openRecording(path string) (*recording.Reader, io.Closer, error) {
	var (
		src    io.Reader
		closer io.Closer = io.NopCloser(nil)
	)
	if path == stdName {
		src = bufio.NewReader(a.In)
	} else {
		file, err := os.Open(path)
		if err != nil {
			return nil, nil, fileError(err)
		}
		src, closer = file, file
	}
	r, err := recording.NewReader(src)
	if err != nil {
		closer.Close()
		return nil, nil, recordingError(path, err)
	}
	return r, closer, nil
}

// recordingError is an error of reading a recording, with its name.
func recordingError(path string, err error) error {
	var torn *recording.TornError
	if errors.As(err, &torn) && torn.Offset+torn.Tail == 0 {
		return fmt.Errorf("%s is empty", inputName(path))
	}
	if errors.Is(err, recording.ErrNotTrace) {
		return fmt.Errorf("%s is no recording of acceptwatch: `acceptwatch record -w FILE` makes one", inputName(path))
	}
	return fmt.Errorf("%s: %w", inputName(path), err)
}

func inputName(path string) string {
	if path == stdName {
		return "standard input"
	}
	return path
}
