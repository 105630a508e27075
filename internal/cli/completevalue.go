package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeValues gives each flag of the tree a completion of its values, by the
// word in its usage that names them: those of `mode` are the ones that follow
// there, so that the help text is the one list of them.
func completeValues(cmd *cobra.Command, host hostCompletion) {
	for _, sub := range cmd.Commands() {
		completeValues(sub, host)
	}
	if cmd.ValidArgsFunction == nil && cmd.Use == cmd.Name() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions // it takes flags only
	}
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if _, own := cmd.GetFlagCompletionFunc(flag.Name); own || flag.Value.Type() == "bool" {
			return
		}
		// It fails for a flag that does not exist, or has one already.
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, completionOf(flag, host))
	})
}

// completionOf is how the values of a flag are completed; nothing is offered for
// a time or a size.
func completionOf(flag *pflag.Flag, host hostCompletion) cobra.CompletionFunc {
	switch word, _ := pflag.UnquoteUsage(flag); word {
	case "mode", "format", "how":
		return cobra.FixedCompletions(choices(flag.Usage), cobra.ShellCompDirectiveNoFileComp)
	case "kinds":
		return completeList(choices(flag.Usage))
	case "file":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	case "path":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	case "ports":
		return host.ports
	case "address":
		return host.addresses
	case "processes":
		return host.processes
	case "name":
		return host.names
	case "pid":
		return host.namespaces
	}
	return cobra.NoFileCompletions
}

var (
	choiceList = regexp.MustCompile("`[a-z]+`[:,]? ([a-z_]+(?:(?:, | or )[a-z_]+)*)")
	asides     = regexp.MustCompile(` \([^)]*\)`)
)

// choices are the words after the one in back quotes: "`format`: text or json".
func choices(usage string) []string {
	found := choiceList.FindStringSubmatch(asides.ReplaceAllString(usage, ""))
	if found == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(found[1], " or ", ", "), ", ")
}

// completeList completes the last value of several with commas between, by those
// that are not among them.
func completeList(all []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndexByte(typed, ',')+1]
		given := strings.Split(before, ",")
		var offers []cobra.Completion
		for _, one := range all {
			if !slices.Contains(given, one) {
				offers = append(offers, before+one)
			}
		}
		return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}
