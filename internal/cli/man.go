package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"acceptwatch/internal/manual"
)

// newManCommand is for those who pack this program; others have the pages.
func newManCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages of all commands into a directory",
		Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return usageErrorf("man needs the directory to write the pages into, so say for example `acceptwatch man /usr/local/share/man/man1`")
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, page := range manPages(cmd.Root(), currentBuild()) {
				if err := writePage(args[0], page); err != nil {
					return fmt.Errorf("write man page: %w", err)
				}
			}
			return nil
		},
	}
}

func writePage(dir string, page *manual.Page) error {
	file, err := os.Create(filepath.Join(dir, page.File()))
	if err != nil {
		return err
	}
	if err := page.Write(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
