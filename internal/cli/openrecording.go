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

// verdict is what was wrong with a recording that was read to its end: the error of
// that, how many records were left out, and at how many places it is damaged. A tail
// that is missing is what a killed recorder leaves, and only told.
func (a *app) verdict(path string, err error, skipped, damages int) error {
	if skipped > 0 {
		a.log.Warn().Int("records", skipped).Msg("the recording holds what only a newer acceptwatch can read")
	}
	var torn *recording.TornError
	switch {
	case errors.As(err, &torn):
		a.log.Warn().Msg(recordingError(path, err).Error())
		return nil
	case err != nil:
		return recordingError(path, err)
	case damages > 0:
		return fmt.Errorf("%s is damaged: only what could be read was shown", inputName(path))
	}
	return nil
}
