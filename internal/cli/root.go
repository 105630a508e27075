package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

const rootHelp = `acceptwatch shows what happens in the TCP accept queues of this host.

A connection that a client has opened waits in the listener's accept queue
until the server calls accept(). While it waits it belongs to no process. If the
client gives up meanwhile, it stays there in CLOSE_WAIT: that is what the
process-less CLOSE_WAIT sockets of ss and netstat are. acceptwatch shows, per
listener, how long connections wait, how deep the queue is, which of them were
dead before anyone accepted them, and who should have accepted them.`

const rootExamples = `  acceptwatch doctor                      what works on this kernel
  acceptwatch demo                        see the incident that this is about
  acceptwatch snapshot                    what is stuck now, since when, whose
  acceptwatch trace --port 8000           live lines, a summary on Ctrl-C
  acceptwatch top                         all listeners, a live table
  acceptwatch diagnose --port 8000        why is nothing accepted?
  acceptwatch trace --min-wait 100ms      only connections that waited
  acceptwatch trace -o json | jq .        JSON Lines
  acceptwatch record -w night.trace       for later: see trace -r and export
  acceptwatch serve                       metrics for Prometheus`

// usageTemplate is cobra's, less what says the same twice.
var usageTemplate = `Usage:
  {{.UseLine}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}

"{{.CommandPath}} COMMAND --help" tells more about a command.
{{if not .HasParent}}

Exit codes:
` + exitList() + `{{end}}{{end}}{{if and .HasParent .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}`

// newRootCommand makes the whole command tree.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "acceptwatch COMMAND",
		Short:         "Show what happens in TCP accept queues",
		Long:          rootHelp,
		Example:       rootExamples,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return emptyValue(cmd.Flags())
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.DisableFlagsInUseLine = true
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(newHelpCommand())
	root.SetFlagErrorFunc(flagError)
	for _, add := range subcommands() {
		root.AddCommand(add(a))
	}
	completeValues(root, newHostCompletion(a))
	return root
}

// subcommands lists the constructors. The help text sorts by name. A new
// subcommand is a file of its own and a line here.
func subcommands() []func(*app) *cobra.Command {
	return []func(*app) *cobra.Command{
		newTraceCommand,
		newCompletionCommand,
		newDemoCommand,
		newDiagnoseCommand,
		newDoctorCommand,
		newReportCommand,
		newExportCommand,
		newManifestCommand,
		newRecordCommand,
		newServeCommand,
		newSnapshotCommand,
		newTopCommand,

		newManCommand,
		newVersionCommand,
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell more about a command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return commandNames(cmd.Root(), args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, args[0])
			}
			return about.Help()
		},
	}
}

// commandNames are those of a tree below the one that args name.
func commandNames(root *cobra.Command, args []string) []cobra.Completion {
	about, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		return nil
	}
	var names []cobra.Completion
	for _, sub := range about.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
		}
	}
	return names
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := ""
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "? "
	}
	return usageErrorf("there is no command %q: %s`acceptwatch --help` lists them", name, hint)
}

// noArgs refuses positional arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageErrorf("%s takes flags only, and %q is none: `%s --help` lists them", cmd.Name(), args[0], cmd.CommandPath())
}
