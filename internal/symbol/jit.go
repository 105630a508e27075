package symbol

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

const jitModule = "[jit]"

// jit names what no file told of, by the map that the compiler in the process
// keeps for perf, if it does.
func (p *process) jit(ctx context.Context, named map[uint64]Frame) {
	var addrs []uint64
	for _, a := range slices.Sorted(maps.Keys(named)) {
		if f := named[a]; f.Function == "" && f.BuildID == "" && f.Module != vdsoPath {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return
	}
	functions, err := p.perfMap(ctx, addrs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.errs = append(p.errs, err)
	}
	for a, fn := range functions {
		named[a] = Frame{Function: fn.name, Module: jitModule, Address: a, Offset: a - fn.start}
	}
}

func (p *process) perfMap(ctx context.Context, addrs []uint64) (map[uint64]jitFunction, error) {
	pid, err := p.ownPID()
	if err != nil {
		return nil, err
	}
	f, _, err := p.openInRoot("/tmp/perf-" + pid + ".map")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parsePerfMap(ctx, f, addrs)
}

// ownPID is the pid by which the process knows itself.
func (p *process) ownPID() (string, error) {
	f, err := os.Open(procPath(p.pid, "status"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	return parseNSpid(f)
}

// parseNSpid reads the last number of the line "NSpid:" of /proc/PID/status: the pid in the
// innermost of its namespaces.
func parseNSpid(r io.Reader) (string, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if numbers, ok := strings.CutPrefix(lines.Text(), "NSpid:"); ok {
			if fields := strings.Fields(numbers); len(fields) > 0 {
				return fields[len(fields)-1], nil
			}
		}
	}
	return "", fmt.Errorf("parse status: no NSpid: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}
