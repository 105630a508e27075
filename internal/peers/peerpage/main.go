// Command peerpage puts together what the tests of the peers measured, and writes
// it as text, JSON, a plot and a page.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"acceptwatch/internal/peers"
)

func main() {
	in := flag.String("in", "bin/bench-peers", "directory with a directory for each kernel, and host; the results go there too")
	page := flag.String("page", "", "directory for the page README.md; none: no page")
	flag.Parse()
	if err := run(*in, *page, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peerpage:", err)
		os.Exit(1)
	}
}

// run reads the measurements of the machines, in their order, and writes.
func run(in, page string, machines []string, stdout io.Writer) error {
	var all peers.All
	for _, m := range machines {
		if err := addFrom(filepath.Join(in, m, "peers.json"), &all.Costs); err != nil {
			return err
		}
		if err := addFrom(filepath.Join(in, m, "rates.json"), &all.Rates); err != nil {
			return err
		}
	}
	if len(all.Costs)+len(all.Rates) == 0 {
		return fmt.Errorf("nothing was measured on %v", machines)
	}
	if err := all.WriteText(stdout); err != nil {
		return err
	}
	encode := func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "\t")
		return e.Encode(all)
	}
	files := map[string]func(io.Writer) error{
		filepath.Join(in, "peers.txt"):  all.WriteText,
		filepath.Join(in, "peers.json"): encode,
		filepath.Join(in, "peers.svg"):  all.WritePlot,
	}
	if page != "" {
		files[filepath.Join(page, "README.md")] = all.WritePage
		files[filepath.Join(page, "peers.json")] = encode
		files[filepath.Join(page, "peers.svg")] = all.WritePlot
	}
	for name, write := range files {
		if err := writeFile(name, write); err != nil {
			return err
		}
	}
	return nil
}

// addFrom decodes the file and appends it; one that is not there was not measured.
func addFrom[T any](name string, to *[]T) error {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var one T
	if err := json.Unmarshal(b, &one); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	*to = append(*to, one)
	return nil
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
