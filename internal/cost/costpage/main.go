// Command costpage writes the page of what tracing costs, from the measurements of
// the kernels that it is given: PAGE FILE...
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"acceptwatch/internal/cost"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "costpage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("give it the page to write, and a file for each kernel")
	}
	kernels := make([]cost.Kernel, len(args)-1)
	for i, name := range args[1:] {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &kernels[i]); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	var page bytes.Buffer
	if err := cost.WritePage(&page, kernels); err != nil {
		return err
	}
	return os.WriteFile(args[0], page.Bytes(), 0o644)
}
