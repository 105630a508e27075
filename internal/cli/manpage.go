package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"acceptwatch/internal/manual"
)

// manPages are one of the program, and one of each of its commands. Their date
// is that of the commit, so that the same source gives the same pages.
func manPages(root *cobra.Command, b build) []*manual.Page {
	var pages []*manual.Page
	for _, cmd := range append([]*cobra.Command{root}, subcommandsOf(root)...) {
		page := manPage(cmd)
		page.Date, _, _ = strings.Cut(b.Time, "T")
		page.Source = root.Name() + " " + b.Version
		pages = append(pages, page)
	}
	return pages
}

// subcommandsOf are those that help lists.
func subcommandsOf(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

func manPage(cmd *cobra.Command) *manual.Page {
	p := &manual.Page{
		Name:      strings.ReplaceAll(cmd.CommandPath(), " ", "-"),
		Summary:   cmd.Short,
		Command:   cmd.CommandPath(),
		Arguments: strings.TrimSpace(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())),
	}
	for _, s := range []manual.Section{
		{Title: "DESCRIPTION", Text: description(cmd)},
		{Title: "COMMANDS", Items: manCommands(cmd)},
		{Title: "OPTIONS", Items: manFlags(cmd)},
		{Title: "EXIT STATUS", Items: manExits(cmd)},
		{Title: "ENVIRONMENT", Items: manEnvironment(cmd)},
		{Title: "FILES", Items: manFiles(cmd)},
		{Title: "EXAMPLES", Text: cmd.Example},
		{Title: "SEE ALSO", Text: seeAlso(cmd)},
	} {
		if s.Text != "" || len(s.Items) > 0 {
			p.Sections = append(p.Sections, s)
		}
	}
	return p
}

// sentence makes one of what the help text says in a line.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func description(cmd *cobra.Command) string {
	if cmd.Long == "" {
		return sentence(cmd.Short)
	}
	return cmd.Long
}

func manCommands(cmd *cobra.Command) []manual.Item {
	var items []manual.Item
	for _, sub := range subcommandsOf(cmd) {
		items = append(items, manual.Item{Term: sub.Name(), Text: sentence(sub.Short)})
	}
	return items
}

func manFlags(cmd *cobra.Command) []manual.Item {
	var items []manual.Item
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(flag)
		term := "--" + flag.Name
		if flag.Shorthand != "" {
			term = "-" + flag.Shorthand + ", " + term
		}
		item := manual.Item{Term: term, Value: value}
		var values []string
		if flag.NoOptDefVal != "" && flag.Value.Type() != "bool" {
			item.MayLack = true
			values = append(values, "without a value: "+flag.NoOptDefVal)
		}
		if !slices.Contains([]string{"", "[]", "false", "0", "0s"}, flag.DefValue) && !strings.Contains(usage, "(default") {
			values = append(values, "default: "+flag.DefValue)
		}
		if len(values) > 0 {
			usage += " (" + strings.Join(values, "; ") + ")"
		}
		item.Text = sentence(usage)
		items = append(items, item)
	})
	return items
}

func manExits(cmd *cobra.Command) []manual.Item {
	var items []manual.Item
	for _, e := range exits {
		if e.code == exitFailOn && cmd.HasParent() && cmd.Flag("fail-on") == nil {
			continue
		}
		items = append(items, manual.Item{Term: strconv.Itoa(e.code), Text: sentence(e.meaning)})
	}
	return items
}

// surrounding is something outside of the program that commands with one of the flags
// depend on.
type surrounding struct {
	flags      []string
	term, text string
}

var environments = []surrounding{
	{[]string{"no-color"}, "NO_COLOR", "Set to anything: no colours, as with --no-color. They are also left out where TERM is dumb."},
	{[]string{"interval"}, "TERM", "The terminal's kind, which top needs: where it is dumb or empty, it refuses to begin."},
	{[]string{"interval"}, "LC_ALL, LC_CTYPE, LANG", "The first that is set tells the terminal's character set: where it is not UTF-8, top draws its bars in ASCII."},
	{[]string{"no-color", "since"}, "TZ", "The zone of times of day."},
}

var usedFiles = []surrounding{
	{[]string{"mode"}, "/sys/kernel/btf/vmlinux",
		"The kernel's types (CONFIG_DEBUG_INFO_BTF), without which no eBPF program can be loaded."},
	{[]string{"pid", "mode"}, "/proc/PID/fd", "Who holds a listener. Those of other users need root, or CAP_SYS_PTRACE."},
	{[]string{"netns"}, "/run/netns", "The network namespaces that have a name. To look into another one needs CAP_SYS_ADMIN."},
	{[]string{"cgroup"}, "/sys/fs/cgroup", "Where cgroups are given by their path."},
}

func manEnvironment(cmd *cobra.Command) []manual.Item { return of(cmd, environments) }

func manFiles(cmd *cobra.Command) []manual.Item { return of(cmd, usedFiles) }

// of are those that a command depends on; the program depends on all.
func of(cmd *cobra.Command, all []surrounding) []manual.Item {
	var items []manual.Item
	for _, a := range all {
		has := func(flag string) bool { return cmd.Flag(flag) != nil }
		if !cmd.HasParent() || slices.ContainsFunc(a.flags, has) {
			items = append(items, manual.Item{Term: a.term, Text: a.text})
		}
	}
	return items
}

func seeAlso(cmd *cobra.Command) string {
	var pages []string
	if cmd.HasParent() {
		pages = append(pages, strings.ReplaceAll(cmd.Parent().CommandPath(), " ", "-")+"(1)")
	}
	for _, sub := range subcommandsOf(cmd) {
		pages = append(pages, strings.ReplaceAll(sub.CommandPath(), " ", "-")+"(1)")
	}
	return strings.Join(append(pages, "listen(2)", "tcp(7)", "ss(8)"), ", ")
}
