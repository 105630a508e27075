// Command acceptwatch shows what happens in the TCP accept queues of this host.
package main

import (
	"context"
	"os"

	"acceptwatch/internal/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
