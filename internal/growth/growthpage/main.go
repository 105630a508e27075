// Command growthpage reads from standard input the output of what measures
// growth, and writes the page into a file. It ends with 1 if something grows
// faster than it is meant to.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"

	"acceptwatch/internal/growth"
)

//go:embed head.md
var head string

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "growthpage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("give it the file to write")
	}
	results, err := growth.ReadResults(os.Stdin)
	if err != nil {
		return err
	}
	if len(results.Series) == 0 {
		return errors.New("there are no measurements in standard input")
	}
	var page bytes.Buffer
	if err := results.WritePage(&page, head); err != nil {
		return err
	}
	if err := os.WriteFile(args[0], page.Bytes(), 0o644); err != nil {
		return err
	}
	var steep error
	for i := range results.Series {
		if s := &results.Series[i]; s.TooSteep() {
			steep = errors.Join(steep, fmt.Errorf("%s grows by %s with the exponent %.2f", s.Cost, s.By, s.ExponentAtEnd()))
		}
	}
	return steep
}
