package cli

import (
	"github.com/spf13/cobra"
)

func newVersionCommand(_ *app) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version of this program", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return nil }}
}
