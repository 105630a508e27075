package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"acceptwatch/internal/recording"
)

// completeRecording offers the recordings in the directory of what is typed, and
// the directories there. Recordings have no ending of their own, and rotated ones
// a number: it looks into the files.
func completeRecording(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dir, _ := filepath.Split(typed)
	entries, err := os.ReadDir(filepath.Join(dir, "."))
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var offers []cobra.Completion
	directive := cobra.ShellCompDirectiveNoFileComp
	for _, e := range entries {
		path := dir + e.Name()
		info, err := os.Stat(path) // of what a link leads to
		switch {
		case err != nil:
		case info.IsDir():
			offers = append(offers, path+"/")
			directive |= cobra.ShellCompDirectiveNoSpace
		case info.Mode().IsRegular() && isRecording(path):
			offers = append(offers, path)
		}
	}
	return offers, directive
}

func isRecording(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return recording.Begins(file)
}

// completeRecordingFlag is the same for a flag, whatever arguments there are.
func completeRecordingFlag(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeRecording(cmd, nil, typed)
}
