package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const completionHelp = `Prints a script that completes commands, flags and their values in a shell: of
--port, --pid and the like those of this host's listeners, as far as they can be
seen, and of -r the recordings in a directory.

  bash  acceptwatch completion bash > /etc/bash_completion.d/acceptwatch
  zsh   acceptwatch completion zsh > "${fpath[1]}/_acceptwatch"
  fish  acceptwatch completion fish > ~/.config/fish/completions/acceptwatch.fish`

func newCompletionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:                   "completion SHELL",
		Short:                 "Print the completion script for a shell",
		Long:                  completionHelp,
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf("completion needs the name of one shell, so say for example `acceptwatch completion bash`; it knows %s",
					strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			var err error
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				err = root.GenZshCompletion(a.Out)
			case "fish":
				err = root.GenFishCompletion(a.Out, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(a.Out)
			default:
				return usageErrorf("there is no completion for %q, choose from %s", args[0], strings.Join(shells, ", "))
			}
			if err != nil {
				return fmt.Errorf("write completion script: %w", err)
			}
			return nil
		},
	}
}
