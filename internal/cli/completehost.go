package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

// hostCompletion completes by what there is on this host: the listeners, who
// holds them, and network namespaces. What cannot be seen is not offered; a
// shell that completes has no place for errors.
type hostCompletion struct {
	env        *environment
	namespaces cobra.CompletionFunc
}

func newHostCompletion(a *app) hostCompletion {
	return hostCompletion{env: &a.env, namespaces: completeNamespaces}
}

// tabPatience is how long somebody who pressed Tab waits.
const tabPatience = 2 * time.Second

// held is a listener and a process that has it; none: it is not known.
type held struct {
	hostSocket
	owner.Process
}

func (h hostCompletion) listeners(ctx context.Context) []held {
	ctx, cancel := context.WithTimeout(ctx, tabPatience)
	defer cancel()
	sockets, _ := h.env.list(ctx, sockdiag.States(sockdiag.Listen), &filter.Filter{})
	inodes := map[uint32]struct{}{}
	for _, s := range sockets {
		inodes[s.Inode] = struct{}{}
	}
	owners, _, _ := h.env.owners(inodes)
	var all []held
	for _, s := range sockets {
		for _, p := range owners[s.Inode] {
			all = append(all, held{s, p})
		}
		if len(owners[s.Inode]) == 0 {
			all = append(all, held{hostSocket: s})
		}
	}
	return all
}

// offer completes by one value of each listener; an empty one is left out, and one
// that a terminal would obey: a shell shows it as it is.
func (h hostCompletion) offer(cmd *cobra.Command, value, about func(held) string) ([]cobra.Completion, cobra.ShellCompDirective) {
	abouts := map[string][]string{}
	for _, l := range h.listeners(cmd.Context()) {
		if v := value(l); v != "" && v == ui.Clean(v) {
			abouts[v] = append(abouts[v], ui.Clean(about(l)))
		}
	}
	var offers []cobra.Completion
	for v, list := range abouts {
		slices.Sort(list)
		list = slices.DeleteFunc(slices.Compact(list), func(s string) bool { return s == "" })
		if len(list) > 0 {
			v = cobra.CompletionWithDesc(v, strings.Join(list, ", "))
		}
		offers = append(offers, v)
	}
	slices.SortFunc(offers, byNumber)
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// byNumber orders numbers by size, and other texts.
func byNumber(a, b string) int {
	number := func(s string) int {
		s, _, _ = strings.Cut(s, "\t")
		n, _ := strconv.Atoi(s)
		return n
	}
	return cmp.Or(cmp.Compare(number(a), number(b)), strings.Compare(a, b))
}

func (l held) port() string  { return strconv.Itoa(int(l.Local.Port())) }
func (l held) comm() string  { return l.Comm }
func (l held) bound() string { return l.Local.String() }

func (l held) pid() string {
	if l.PID == 0 {
		return ""
	}
	return strconv.Itoa(l.PID)
}

func (h hostCompletion) ports(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return h.offer(cmd, held.port, held.comm)
}

func (h hostCompletion) addresses(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return h.offer(cmd, func(l held) string { return l.Local.Addr().String() }, held.comm)
}

func (h hostCompletion) processes(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return h.offer(cmd, held.pid, func(l held) string { return l.comm() + " " + l.bound() })
}

func (h hostCompletion) names(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return h.offer(cmd, held.comm, held.bound)
}

// completeNamespaces offers network namespaces by name where they have one, as
// `ip netns` makes them, and by inode number where they have none.
func completeNamespaces(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if strings.Contains(typed, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	namespaces, _ := netns.List()
	return namespaceOffers(namespaces), cobra.ShellCompDirectiveNoFileComp
}

func namespaceOffers(namespaces []netns.NS) []cobra.Completion {
	offers := make([]cobra.Completion, len(namespaces))
	for i, ns := range namespaces {
		if name := ns.Name(); name != "" {
			offers[i] = cobra.CompletionWithDesc(name, ns.String())
		} else {
			offers[i] = cobra.CompletionWithDesc(strconv.FormatUint(uint64(ns.Inode), 10), ns.Path)
		}
	}
	return offers
}
