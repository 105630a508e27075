// Command vmrun boots a command, or a package's tests, in the kernels that
// acceptwatch supports. In the guest it is init.
package main

import (
	"os"

	"acceptwatch/internal/vm/guest"
	"acceptwatch/internal/vm/vmcli"
)

func main() {
	if guest.IsInit() {
		guest.Main()
	}
	os.Exit(vmcli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
