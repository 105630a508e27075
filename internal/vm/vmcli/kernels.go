package vmcli

import (
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"acceptwatch/internal/vm"
)

func newList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the kernels: name, package version, where the image is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			specs, err := vm.Select(a.kernels...)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "KERNEL\tARCH\tVERSION\tCACHED\tIMAGE")
			for _, s := range specs {
				k, err := vm.Cached(s)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					fmt.Fprintf(table, "%s\t%s\t-\tno\t-\n", s.Name, s.Arch)
				case err != nil:
					return err
				default:
					fmt.Fprintf(table, "%s\t%s\t%s\tyes\t%s\n", k.Name, k.Arch, k.Version, k.Image)
				}
			}
			return table.Flush()
		},
	}
}

func newFetch(a *app) *cobra.Command {
	var refresh bool
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch the kernels that are not in the cache",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kernels, err := a.fetched(cmd.Context(), refresh)
			for _, k := range kernels {
				fmt.Fprintf(a.stdout, "%s %s\n", k.Name, k.Version)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&refresh, "refresh", false, "look for newer ones, too")
	return cmd
}
