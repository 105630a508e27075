// Command growthpage reads the output of what measures growth, and writes the
// page. It ends with 1 if something grows faster than it is meant to.
package main

import (
	_ "embed"
	"fmt"
	"os"

	"acceptwatch/internal/growth"
)

//go:embed head.md
var head string

func main() {
	results, err := growth.ReadResults(os.Stdin)
	if err == nil {
		err = results.WritePage(os.Stdout, head)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "growthpage:", err)
		os.Exit(1)
	}
	steep := 0
	for i := range results.Series {
		if s := &results.Series[i]; s.TooSteep() {
			fmt.Fprintf(os.Stderr, "growthpage: %s grows by %s with exponent %.2f\n", s.Cost, s.By, s.ExponentAtEnd())
			steep++
		}
	}
	if steep > 0 {
		os.Exit(1)
	}
}
