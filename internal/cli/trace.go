package cli

import (
	"github.com/spf13/cobra"
)

func newTraceCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "trace", Short: "Show live lines, and a summary at the end", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src, err := a.openSource(cmd.Context(), sourceOptions{Events: true})
			if err != nil {
				return err
			}
			return src.Close()
		}}
}
